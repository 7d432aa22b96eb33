//! Text that an option takes from a file beside the manifest: `sshkeys: {file: keys/admin.pub}`.

use super::decode::Problems;
use super::source::{Node, NodeKind};
use crate::pve::schema::catalog;
use crate::pve::value::GuestKind;

/// Fetches the text of a file: the manifest that names it, and the path as written.
///
/// The path is relative and has no `..`; that links do not lead out of the manifest's folder is the reader's to see.
pub type ReadFile<'a> = dyn Fn(&str, &str) -> Result<String, String> + 'a;

/// True for an option that holds a secret, whatever the kind of guest.
pub(super) fn is_secret(option: &str) -> bool {
    GuestKind::ALL.iter().any(|kind| catalog(*kind).find(option).is_some_and(|spec| spec.facts.secret))
}

/// True for options that are plain text, and no secret.
pub(super) fn takes_files(option: &str) -> bool {
    let plain = |kind: &GuestKind| catalog(*kind).find(option).is_some_and(|spec| spec.value.properties.is_none());
    !is_secret(option) && GuestKind::ALL.iter().any(plain)
}

/// Puts the file's text in the place of a reference.
pub(super) fn resolve(problems: &mut Problems, option: &str, node: &mut Node, read: &ReadFile<'_>) {
    if node.get("file").is_some() && takes_files(option) {
        let kind = fetch(problems, option, node, read).map_or(NodeKind::Refused, |node| node.kind);
        let mark = node.get("file").map_or_else(|| node.mark.clone(), |path| path.mark.clone());
        *node = Node { kind, mark };
    }
}

fn fetch(problems: &mut Problems, option: &str, node: &Node, read: &ReadFile<'_>) -> Option<Node> {
    let NodeKind::Map(entries) = &node.kind else { return None };
    let path_node = node.get("file")?;
    if let Some((other, _)) = entries.iter().find(|(key, _)| key.text != "file") {
        let message = format!("`{option}`: a reference to a file has no `{}`", other.text);
        problems.error("wrong-value", message, &other.mark);
        return None;
    }
    let path = problems.text("file", path_node)?;
    let leaves = path.is_empty()
        || path.starts_with(['/', '~'])
        || path.contains(['\\', ':', '\0'])
        || path.split('/').any(|part| part == "..");
    if leaves {
        problems.error_hint(
            "wrong-value",
            format!("`{path}` does not stand in the manifest's folder"),
            &path_node.mark,
            "write a path below that folder, such as keys/admin.pub",
        );
        return None;
    }
    match read(path_node.mark.file(), &path) {
        Ok(text) => {
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            Some(Node { kind: NodeKind::Scalar { text, plain: false }, mark: path_node.mark.clone() })
        }
        Err(reason) => {
            problems.error("unreadable", format!("`{path}` cannot be read: {reason}"), &path_node.mark);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::source::NodeKind;
    use crate::manifest::{Outside, read_with};

    fn read(option: &str) -> Result<String, String> {
        let text = format!("fleet: f\nvms:\n  - name: a\n    {option}\n");
        let files = [("homes/fleet.yaml".to_owned(), text)];
        let file = |manifest: &str, path: &str| match path {
            "keys/admin.pub" => Ok(format!("key of {manifest}\n")),
            _ => Err("no such file".to_owned()),
        };
        let (fleet, problems) = read_with(&files, &Outside { file: &file, ..Outside::default() });
        match problems.first() {
            Some(problem) => Err(problem.message.clone()),
            None => match &fleet.unwrap().guests[0].layer.options[0].1.kind {
                NodeKind::Scalar { text, .. } => Ok(text.clone()),
                other => Ok(format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned()),
            },
        }
    }

    #[test]
    fn only_files_of_the_folder_are_read() {
        assert_eq!(read("sshkeys: {file: keys/admin.pub}").as_deref(), Ok("key of homes/fleet.yaml"));
        assert_eq!(read("scsi0: {file: \"a1:x\"}").as_deref(), Ok("Map"), "a sub-key of that name is no reference");
        assert_eq!(read("cipassword: {file: keys/admin.pub}").as_deref(), Ok("Map"), "refused when it is resolved");
        for (option, expected) in [
            ("sshkeys: {file: other.pub}", "`other.pub` cannot be read: no such file"),
            ("sshkeys: {file: keys/admin.pub, version: 1}", "`sshkeys`: a reference to a file has no `version`"),
            ("sshkeys: {file: ../admin.pub}", "`../admin.pub` does not stand in the manifest's folder"),
            ("sshkeys: {file: /etc/passwd}", "`/etc/passwd` does not stand in the manifest's folder"),
            ("description: {file: \"a/../../b\"}", "`a/../../b` does not stand in the manifest's folder"),
        ] {
            assert_eq!(read(option).unwrap_err(), expected);
        }
    }
}
