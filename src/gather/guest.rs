//! One guest, read just before or after a write.

use std::collections::BTreeMap;

use super::rows::{self, Resource};
use super::{assemble, config, get};
use crate::client::Reader;
use crate::live::{LiveConfig, LiveGuest, Power, Read};
use crate::pve::http::{ApiError, Request};
use crate::pve::value::{GuestKind, Vmid};

/// A guest that moves while it is looked for is followed this often.
const MOVES: u32 = 3;

/// What asking one node for a guest gave.
enum Answer {
    Guest(Box<(LiveConfig, Read<Power>)>),
    NotHere,
    Failed(String),
}

/// Reads one guest: its configuration, its power state, and where it is.
///
/// The node of the hint is asked first: a guest is on one node alone, so that what is found there is it, and the list
/// of the whole cluster is asked for only where it says more, of the pool. `Absent` needs proof: the cluster's list does
/// not show the guest *and* the node that should have it, or the question for a free id, says so too.
pub async fn guest(
    client: &dyn Reader,
    kind: GuestKind,
    vmid: Vmid,
    node_hint: Option<&str>,
    with_pool: bool,
) -> Read<LiveGuest> {
    let (mut resources, mut answer) = match node_hint {
        None => (resources(client).await, None),
        Some(node) if with_pool => {
            let (resources, answer) = tokio::join!(resources(client), ask(client, kind, vmid, node));
            (resources, Some(answer))
        }
        Some(node) => match ask(client, kind, vmid, node).await {
            Answer::Guest(found) => {
                return Read::Known(known(&Resource::bare(vmid, kind, node.to_owned()), *found));
            }
            answer => (resources(client).await, Some(answer)),
        },
    };
    let mut asked = node_hint.map(str::to_owned);
    for _ in 0..MOVES {
        let list = match &resources {
            Ok(list) => list,
            Err(reason) => return Read::Unread(reason.clone()),
        };
        let Some(row) = list.get(&vmid) else {
            return match answer {
                Some(Answer::NotHere) => Read::Absent,
                // Made just now: the configuration is there before the list shows it.
                Some(Answer::Guest(found)) => {
                    let row = Resource::bare(vmid, kind, asked.unwrap_or_default());
                    Read::Known(known(&row, *found))
                }
                // A token that may see nothing there is refused before it is said that nothing is there.
                Some(Answer::Failed(reason)) => match is_free(client, vmid).await {
                    Read::Known(true) => Read::Absent,
                    _ => Read::Unread(reason),
                },
                None => unlisted(client, vmid).await,
            };
        };
        if row.kind != kind {
            return Read::Unread(format!("{vmid} is a {}, not a {}", row.kind.noun(), kind.noun()));
        }
        let fresh = match answer.take() {
            Some(answer) if asked.as_ref() == Some(&row.node) => answer,
            _ => ask(client, kind, vmid, &row.node).await,
        };
        match fresh {
            Answer::Guest(found) => return Read::Known(known(row, *found)),
            Answer::Failed(reason) => return Read::Unread(reason),
            Answer::NotHere => {
                // It moved or went away since the list was read.
                asked = Some(row.node.clone());
                answer = Some(Answer::NotHere);
                resources = self::resources(client).await;
                let node = resources.as_ref().ok().and_then(|list| list.get(&vmid)).map(|row| &row.node);
                if node.is_some() && node == asked.as_ref() {
                    return Read::Unread(format!("the list of guests shows {vmid} on a node that does not have it"));
                }
            }
        }
    }
    Read::Unread(format!("guest {vmid} moves between nodes"))
}

async fn resources(client: &dyn Reader) -> Result<BTreeMap<Vmid, Resource>, String> {
    get(client, &Request::get("/cluster/resources").with("type", "vm"), rows::resources).await
}

async fn ask(client: &dyn Reader, kind: GuestKind, vmid: Vmid, node: &str) -> Answer {
    let base = format!("/nodes/{node}/{kind}/{vmid}");
    let (pending, status) = (Request::get(format!("{base}/pending")), Request::get(format!("{base}/status/current")));
    let (pending, status) = tokio::join!(client.read(&pending), client.read(&status));
    let config = match pending {
        Ok(answer) => match config::config(&answer) {
            Some(config) => config,
            None => return Answer::Failed(format!("the answer of {base}/pending is not understood")),
        },
        Err(ApiError::NotFound(_)) => return Answer::NotHere,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    let power = match status {
        Ok(answer) => rows::power(&answer)
            .map_or_else(|| Read::Unread("its power state is not understood".to_owned()), Read::Known),
        Err(error) => Read::Unread(error.to_string()),
    };
    Answer::Guest(Box::new((config, power)))
}

fn known(row: &Resource, (config, power): (LiveConfig, Read<Power>)) -> LiveGuest {
    let mut guest = assemble(row, None, Read::Known(config));
    guest.power = power;
    guest
}

/// A guest that the list does not show, and of which no node is known.
async fn unlisted(client: &dyn Reader, vmid: Vmid) -> Read<LiveGuest> {
    match is_free(client, vmid).await {
        Read::Known(true) => Read::Absent,
        Read::Known(false) => Read::Unread(format!("{vmid} is taken by a guest that this token cannot see")),
        Read::Absent => Read::Unread(format!("whether {vmid} is free is not known")),
        Read::Unread(reason) => Read::Unread(reason),
    }
}

/// Asks whether an id is free. Every token may ask, and the answer covers guests that the token cannot see.
pub async fn is_free(client: &dyn Reader, vmid: Vmid) -> Read<bool> {
    let request = Request::get("/cluster/nextid").with("vmid", vmid.to_string());
    match client.read(&request).await {
        Ok(answer) if rows::text(&answer).as_deref() == Some(vmid.to_string().as_str()) => Read::Known(true),
        Ok(_) => Read::Unread(format!("the answer of /cluster/nextid for {vmid} is not understood")),
        Err(ApiError::Validation { errors, .. }) if taken(&errors) => Read::Known(false),
        Err(error) => Read::Unread(error.to_string()),
    }
}

fn taken(errors: &BTreeMap<String, String>) -> bool {
    errors.get("vmid").is_some_and(|text| text.contains("already exists"))
}
