//! The calls below `/access`: login, users, tokens, groups, roles, the access control list.

mod acl;
mod groups;
mod login;
mod roles;
mod tokens;
mod users;

pub(in crate::sim) use acl::{acl, set_acl};
pub(in crate::sim) use groups::{group_create, group_delete, group_read, group_update, groups};
pub(in crate::sim) use login::{domain, domains, login, login_page, permissions, set_password};
pub(in crate::sim) use roles::{role_create, role_delete, role_read, role_update, roles};
pub(in crate::sim) use tokens::{token_create, token_delete, token_read, token_update, tokens};
pub(in crate::sim) use users::{user_create, user_delete, user_read, user_tfa, user_update, users};

use serde_json::json;

use crate::sim::answer::{Answer, Failure, Outcome};
use crate::sim::cluster::Cluster;
use crate::sim::route::Call;

/// What there is below `/access`.
pub(in crate::sim) fn index(_: &mut Cluster, _: &Call) -> Outcome {
    let names = ["users", "groups", "roles", "acl", "domains", "openid", "tfa", "ticket", "password"];
    Ok(Answer::from(json!(names.map(|name| json!({ "subdir": name })))))
}

/// A text as Proxmox keeps it: one that is empty or a bare zero counts as absent.
fn kept(text: &str) -> Option<&str> {
    (!text.is_empty() && text != "0").then_some(text)
}

/// The failure of a change of the file of users, where the text of the change goes before the reason.
fn within(change: &str, failure: &Failure) -> Failure {
    let text = match failure {
        // An error of parameters becomes a text with a line for each.
        Failure::Parameters(errors) => {
            let lines: Vec<String> = errors.iter().map(|(name, text)| format!("\n{name}: {text}")).collect();
            format!("400 Parameter verification failed.{}", lines.concat())
        }
        other => other.text(),
    };
    Failure::Die(format!("{change} failed: {text}"))
}
