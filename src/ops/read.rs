//! Reads the clusters that a fleet needs, all at once; one that is down costs only its own time-out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::client::Reader;
use crate::desired::{CloneFrom, Desired};
use crate::gather::{self, FileAnew, Wanted};
use crate::live::{Live, Read};
use crate::plan::mark::fleet_tag;
use crate::plan::{made_of, wanted_tags};

/// For each cluster a client that can read, or why there is none.
pub type Readers = BTreeMap<String, Result<Arc<dyn Reader>, String>>;

/// Reads every cluster of the fleet, or only those named.
pub async fn read(desired: &Desired, readers: &Readers, only: &[String]) -> Live {
    let mut live = Live::default();
    let mut running = JoinSet::new();
    for name in desired.clusters.keys().filter(|name| only.is_empty() || only.contains(name)) {
        // Replaced when the reading ends.
        live.clusters.insert(name.clone(), Read::Unread("reading it ended early".to_owned()));
        match readers.get(name) {
            Some(Ok(reader)) => {
                let (name, reader, wanted) = (name.clone(), Arc::clone(reader), wanted(desired, name));
                running.spawn(async move { (name, gather::cluster(reader.as_ref(), &wanted).await) });
            }
            Some(Err(why)) => {
                live.clusters.insert(name.clone(), Read::Unread(why.clone()));
            }
            None => {
                live.clusters.insert(name.clone(), Read::Unread("it is not configured".to_owned()));
            }
        }
    }
    while let Some(ended) = running.join_next().await {
        if let Ok((name, cluster)) = ended {
            live.clusters.insert(name, cluster);
        }
    }
    live
}

/// What matters of a cluster to this fleet.
///
/// Names of the whole fleet count, so that a guest which lives in another cluster than it is routed to is found.
pub(super) fn wanted(desired: &Desired, cluster: &str) -> Wanted {
    let mut names = BTreeSet::new();
    let mut vmids = BTreeSet::new();
    let mut tags = BTreeSet::new();
    for guest in desired.clusters.get(cluster).into_iter().flat_map(|cluster| &cluster.guests) {
        names.insert(guest.name.clone());
        vmids.extend(guest.vmid);
        names.extend(guest.renamed_from.as_ref().map(|former| former.value.clone()));
        match guest.clone.as_ref().map(|source| &source.from) {
            Some(CloneFrom::Tagged(tag)) => {
                tags.insert(tag.clone());
            }
            Some(CloneFrom::Named(name)) => match name.parse() {
                Ok(vmid) => {
                    vmids.insert(vmid);
                }
                Err(()) => {
                    names.insert(name.clone());
                }
            },
            None => {}
        }
    }
    let guests = desired.clusters.get(cluster).into_iter().flat_map(|cluster| &cluster.guests);
    let snapshots = guests.filter_map(|guest| Some(guest.clone.as_ref()?.snapname.as_ref()?.value.clone())).collect();
    let guests = desired.clusters.get(cluster).into_iter().flat_map(|cluster| &cluster.guests);
    let archives = guests
        .filter_map(|guest| Some((guest.archive.as_ref()?.value.clone(), (guest.name.clone(), guest.vmid))))
        .collect();
    let guests = desired.clusters.get(cluster).into_iter().flat_map(|cluster| &cluster.guests);
    let unnumbered =
        guests.filter(|guest| guest.vmid.is_none()).map(|guest| (guest.kind, guest.name.clone())).collect();
    let guests = desired.clusters.get(cluster).into_iter().flat_map(|cluster| &cluster.guests);
    let anew: Vec<_> = guests.filter(|guest| guest.recreate.as_ref().is_some_and(|recreate| recreate.value)).collect();
    let archives_anew = anew.iter().filter_map(|guest| Some(guest.archive.as_ref()?.value.clone())).collect();
    let files_anew = anew.iter().flat_map(|guest| {
        let file = |(volume, content)| FileAnew { volume, content, nodes: guest.nodes.clone() };
        made_of(guest).into_iter().map(file)
    });
    let files_anew = files_anew.collect();
    let guests = desired.clusters.get(cluster).into_iter().flat_map(|cluster| &cluster.guests);
    let tagged = guests.map(|guest| ((guest.kind, guest.name.clone()), wanted_tags(guest, &desired.fleet))).collect();
    let fleet_tag = fleet_tag(&desired.fleet);
    Wanted {
        fleet_tag,
        vmids,
        names,
        tags,
        snapshots,
        archives,
        archives_anew,
        files_anew,
        tagged,
        unnumbered,
        preflight: true,
    }
}
