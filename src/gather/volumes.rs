//! What lies on a cluster's storages: a new guest gets no id under which it would take others' volumes for its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Wanted, get, read, rows};
use crate::client::Reader;
use crate::client::concurrent::{Job, all};
use crate::live::{LiveGuest, LiveStorage, Read};
use crate::pve::http::Request;
use crate::pve::value::Vmid;

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

/// The ids in a list of volumes.
fn owners(answer: &Value) -> Option<BTreeSet<Vmid>> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let owner = |row: &Value| Vmid::new(u32::try_from(number(row.get("vmid")?)?).ok()?);
    Some(answer.as_array()?.iter().filter_map(owner).collect())
}
