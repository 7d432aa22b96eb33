//! What lies on a cluster's storages: whose volumes and backups, so that a new guest gets no id that would take some of
//! them for its own; and whether that is there which a guest may be made anew of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{FileAnew, Wanted, get, read, rows};
use crate::client::Reader;
use crate::client::concurrent::{Job, all};
use crate::live::{LiveGuest, LiveStorage, Read};
use crate::pve::http::Request;
use crate::pve::value::{Vmid, storage_of};

/// True where a guest that the range gives its id seems not to be there.
pub fn are_wanted(wanted: &Wanted, guests: &BTreeMap<Vmid, LiveGuest>) -> bool {
    if wanted.unnumbered.is_empty() {
        return false;
    }
    let named = guests.values().filter_map(|guest| Some((guest.kind, guest.name.known()?)));
    let there: BTreeSet<_> = named.collect();
    wanted.unnumbered.iter().any(|(kind, name)| !there.contains(&(*kind, name)))
}

/// Reads the ids on every storage that holds volumes of guests or backups: a shared one once.
pub async fn ids(
    client: &dyn Reader,
    storages: &BTreeMap<String, Read<BTreeMap<String, LiveStorage>>>,
) -> BTreeMap<String, Read<BTreeSet<Vmid>>> {
    let mut places: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for (node, storages) in storages {
        for (name, storage) in storages.known().into_iter().flatten() {
            if !storage.active || !["images", "rootdir", "backup"].iter().any(|kind| storage.content.contains(*kind)) {
                continue;
            }
            let place = if storage.shared { name.clone() } else { format!("{node}/{name}") };
            places.entry(place).or_insert((node, name));
        }
    }
    let jobs = places.into_iter().map(|(place, (node, name))| -> Job<'_, (String, Read<BTreeSet<Vmid>>)> {
        Box::pin(async move {
            let request = Request::get(format!("/nodes/{node}/storage/{name}/content"));
            (place, read(get(client, &request, owners).await))
        })
    });
    all(jobs.collect()).await.into_iter().collect()
}

/// The storages that are not shared: each node has its own of that name.
pub async fn local_storages(client: &dyn Reader) -> Read<BTreeSet<String>> {
    let request = Request::get("/cluster/resources").with("type", "storage");
    let local = |row: &Value| rows::field(row, "storage").filter(|_| rows::flag(row, "shared") == Some(false));
    read(get(client, &request, |answer| Some(rows::rows(answer)?.iter().filter_map(local).collect())).await)
}

/// Reads whether these files are where they may be needed: one list for each content type of a storage, of a shared
/// storage one in all.
pub async fn files(
    client: &dyn Reader,
    wanted: &BTreeSet<FileAnew>,
    storages: &BTreeMap<String, Read<BTreeMap<String, LiveStorage>>>,
) -> BTreeMap<String, BTreeMap<String, Read<bool>>> {
    let mut asked: BTreeMap<(&str, &str, &str), Read<BTreeSet<String>>> = BTreeMap::new();
    let mut wants: Vec<(&FileAnew, &str, (&str, &str, &str))> = Vec::new();
    for file in wanted {
        let Some(name) = storage_of(&file.volume) else { continue };
        let mut first = None;
        for (node, storages) in storages {
            let storage = storages.known().and_then(|storages| storages.get(name)).filter(|storage| storage.active);
            let Some(storage) = storage.filter(|_| file.nodes.is_empty() || file.nodes.contains(node)) else {
                continue;
            };
            let at = if storage.shared { *first.get_or_insert(node.as_str()) } else { node };
            asked.insert((at, name, file.content), Read::Absent);
            wants.push((file, node, (at, name, file.content)));
        }
    }
    let jobs = asked.into_keys().map(|(node, name, content)| -> Job<'_, ((&str, &str, &str), _)> {
        Box::pin(async move {
            let request = Request::get(format!("/nodes/{node}/storage/{name}/content")).with("content", content);
            ((node, name, content), read(get(client, &request, names).await))
        })
    });
    let answers: BTreeMap<_, Read<BTreeSet<String>>> = all(jobs.collect()).await.into_iter().collect();
    let mut found: BTreeMap<String, BTreeMap<String, Read<bool>>> = BTreeMap::new();
    for (file, node, place) in wants {
        let Some(list) = answers.get(&place) else { continue };
        let is_there = list.clone().map(|names| names.iter().any(|name| is_in(&file.volume, name)));
        found.entry(file.volume.clone()).or_default().insert(node.to_owned(), is_there);
    }
    found
}

/// True for the volume itself, and for a disk inside of it: `local:import/x.ova/disk.vmdk`.
fn is_in(volume: &str, name: &str) -> bool {
    volume.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The names in a list of volumes.
fn names(answer: &Value) -> Option<BTreeSet<String>> {
    let name = |row: &Value| Some(row.get("volid")?.as_str()?.to_owned());
    Some(answer.as_array()?.iter().filter_map(name).collect())
}

/// The ids in a list of volumes.
fn owners(answer: &Value) -> Option<BTreeSet<Vmid>> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let owner = |row: &Value| Vmid::new(u32::try_from(number(row.get("vmid")?)?).ok()?);
    Some(answer.as_array()?.iter().filter_map(owner).collect())
}
