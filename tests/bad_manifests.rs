//! Manifests that are refused, each with what is said about it in a file beside.
//!
//! `UPDATE=1 cargo test --test bad_manifests` writes what is said now; read the difference before keeping it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so where it stands")]

use std::fs;
use std::path::{Path, PathBuf};

use pvefleet::clusters::{Registry, Variables, load};
use pvefleet::diagnostics::Diagnostic;
use pvefleet::report::findings::{self, Sources};
use pvefleet::{desired, manifest};

fn registry() -> Registry {
    let text = include_str!("../.env.example.multi")
        .replace("dr-:disaster-recovery", "dr-:disaster-recovery,x-:staging,x-y-:production");
    load(&Variables::merge([], &[(".env".to_owned(), text)]), &|_| Err("unused".to_owned())).unwrap()
}

fn problems(name: &str, text: &str) -> Vec<Diagnostic> {
    let (fleet, mut problems) = manifest::read(&[(name.to_owned(), text.to_owned())]);
    if let Some(fleet) = fleet {
        let (desired, more) = desired::resolve(&fleet, &registry());
        problems.extend(more);
        assert_eq!(desired.is_none(), problems.iter().any(Diagnostic::is_error));
    }
    problems
}

#[test]
fn each_is_refused_in_the_words_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/bad");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 25);
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let problems = problems(&name, &text);
        assert!(!problems.is_empty(), "{name} is accepted");
        let sources: Sources = [(&name, &text)].into_iter().collect();
        let said = findings::text(&problems, &sources, false, 100) + &findings::summary(&problems) + "\n";
        assert!(!said.contains("hunter2"), "{name}: a secret is shown");
        let beside = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&beside, said).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != said {
            wrong.push(format!("── {name}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "said otherwise than the files beside:\n\n{}", wrong.join("\n"));
}
