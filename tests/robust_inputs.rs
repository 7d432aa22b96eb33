//! Whatever the text: problems are reported, and nothing panics.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so where it stands")]

use proptest::prelude::*;
use pvefleet::clusters::{Variables, load};
use pvefleet::report::findings::{self, Sources};
use pvefleet::{desired, manifest};

/// Pieces of manifests, put together in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("fleet: f\n".to_owned()),
        Just("vms:\n".to_owned()),
        Just("containers:\n".to_owned()),
        Just("clusters:\n  default:\n    vms:\n".to_owned()),
        Just("  - name: a\n".to_owned()),
        Just("    - name: a\n".to_owned()),
        Just("    clone: {from: a, full: ".to_owned()),
        Just("    scsi0: ".to_owned()),
        Just("{size: 3GiB, storage: x}\n".to_owned()),
        Just("\"local:32,media=cdrom,,size=\"\n".to_owned()),
        Just("    net0: {tag: &x [".to_owned()),
        Just("*x]}\n".to_owned()),
        Just("    tags: [a, b, {}]\n".to_owned()),
        Just("    depends_on: [a]\n".to_owned()),
        Just("    cipassword: {env: A}\n".to_owned()),
        Just("    memory: 4GiB\n".to_owned()),
        Just("profiles: {a: {vmid: 1}}\n".to_owned()),
        Just("vars: {n: 1, m: [a, {b: c}]}\n".to_owned()),
        Just("include: [f, ../x.yaml]\n".to_owned()),
        Just("    each: {n: 1..3}\n".to_owned()),
        Just("    each: {h: [{a: 1}, b, [c]]}\n".to_owned()),
        Just("    description: \"{{ n }} {{ m.b | ".to_owned()),
        Just("'%02d' | format(n) }}\"\n".to_owned()),
        Just("    ha: {state: started, group: null}\n".to_owned()),
        Just("    scsi1: {import: \"a:b\", moved_from: scsi0}\n".to_owned()),
        "[ -~\\n\u{e9}\u{1f600}]{0,12}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn drawn(text: &str) -> String {
    let env = "PROXMOX_API_URL=https://a.example.net\nPROXMOX_TOKEN_ID=a@pve!t\nPROXMOX_TOKEN_SECRET=s\n".to_owned();
    let registry = load(&Variables::merge([], &[(".env".to_owned(), env)]), &|_| Ok(String::new())).unwrap();
    let (fleet, mut problems) = manifest::read(&[("f".to_owned(), text.to_owned())]);
    if let Some(fleet) = fleet {
        let (desired, more) = desired::resolve(&fleet, &registry);
        problems.extend(more);
        assert_eq!(desired.is_none(), problems.iter().any(pvefleet::diagnostics::Diagnostic::is_error));
    } else {
        assert!(!problems.is_empty());
    }
    let sources: Sources = [("f", text)].into_iter().collect();
    findings::text(&problems, &sources, false, 80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn manifests(text in pieces()) {
        drawn(&text);
    }

    #[test]
    fn any_text_as_a_manifest(text in any::<String>()) {
        drawn(&text);
    }

    /// Whatever an expression is, it ends, and soon.
    #[test]
    fn any_expression(expression in "[a-z0-9 +*/%|.'()\\[\\]{}<>=~,-]{0,40}") {
        drawn(&format!("fleet: f\nvars: {{a: 1, b: [x, y], c: {{d: e}}}}\nvms:\n  - name: a\n    description: >-\n      {{{{{expression}}}}}\n"));
    }

    #[test]
    fn any_text_as_an_env_file(text in "([A-Z_-]{0,4}=?[ -~\\n]{0,8}['\"\\\\#$\\r\\n]?){0,12}") {
        let variables = Variables::merge([], &[(".env".to_owned(), text)]);
        let _ = load(&variables, &|_| Ok(String::new()));
    }

    /// What is written in single quotes is read to the letter.
    #[test]
    fn single_quotes_keep_everything(value in "[ -&(-~\\n]{0,40}") {
        let text = format!("B=1\nA='{value}'\nC=2\n");
        let variables = Variables::merge([], &[(".env".to_owned(), text)]);
        prop_assert_eq!(variables.get("A").map(|found| found.value.expose().to_owned()), Some(value));
        prop_assert!(variables.get("B").is_some() && variables.get("C").is_some());
    }
}
