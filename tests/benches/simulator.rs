//! How many requests the simulator answers in a second, in the same process, beside a thousand guests:
//! `cargo bench --bench simulator`, or with a number of requests after `--`.

use std::time::Instant;

use pvefleet::sim::{Cluster, ClusterSpec, IncomingRequest, world};

/// Guests of the cluster.
const GUESTS: u32 = 1000;

/// Requests where no number is given.
const REQUESTS: u64 = 1_000_000;

fn spec() -> ClusterSpec {
    let mut spec = world::builtin("staging");
    let model = spec.guests.pop();
    let guests = model.into_iter().flat_map(|model| {
        (0..GUESTS).map(move |number| {
            let mut guest = model.clone();
            guest.vmid = 1000 + number;
            guest.running = number % 2 == 0;
            guest.config.insert("name".to_owned(), format!("guest-{number}"));
            guest.config.insert("scsi0".to_owned(), format!("local-lvm:vm-{}-disk-0,size=16G", guest.vmid));
            guest
        })
    });
    let guests: Vec<_> = guests.collect();
    spec.guests.extend(guests);
    spec
}

/// The request of a number: mostly reads of one guest, now and then a write, a task, a list.
fn request(number: u64, authorization: &str) -> IncomingRequest {
    let vmid = 1000 + (number * 7919) % u64::from(GUESTS);
    let guest = format!("/nodes/stg1/qemu/{vmid}");
    let (method, path, params) = match number % 1000 {
        0 => ("GET", "/cluster/resources".to_owned(), vec![("type", "vm".to_owned())]),
        1 => ("POST", format!("{guest}/status/start"), Vec::new()),
        2 => ("POST", format!("{guest}/status/stop"), Vec::new()),
        n if n % 20 == 3 => ("PUT", format!("{guest}/config"), vec![("cores", (1 + number % 8).to_string())]),
        n if n % 20 == 4 => ("GET", format!("{guest}/pending"), Vec::new()),
        n if n % 20 == 5 => ("GET", format!("{guest}/status/current"), Vec::new()),
        n if n % 20 == 6 => ("GET", "/version".to_owned(), Vec::new()),
        _ => ("GET", format!("{guest}/config"), Vec::new()),
    };
    IncomingRequest {
        method: method.to_owned(),
        path,
        params: params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        authorization: Some(authorization.to_owned()),
        node: "stg1".to_owned(),
        ..IncomingRequest::default()
    }
}

/// Sends requests one millisecond apart; requests per second.
fn rate(name: &str, count: u64, make: impl Fn(u64, &str) -> IncomingRequest) {
    let spec = spec();
    let token = format!("PVEAPIToken={}={}", spec.tokens[0].id, spec.tokens[0].secret);
    let mut cluster = Cluster::new(spec, 1);
    let begin = Instant::now();
    let mut failed = 0u64;
    for number in 0..count {
        let reply = cluster.handle(&make(number, &token), number);
        failed += u64::from(reply.response.status >= 400);
    }
    let seconds = begin.elapsed().as_secs_f64();
    let per_second = count as f64 / seconds;
    println!("{name:<34} {count:>9} requests in {seconds:>6.2} s: {per_second:>9.0} a second, {failed} refused");
}

fn main() {
    let wanted = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let count: u64 = wanted.unwrap_or(REQUESTS);
    let only = |method: &'static str, path: &'static str| {
        move |number: u64, token: &str| IncomingRequest {
            method: method.to_owned(),
            path: path.replace("ID", &(1000 + number % u64::from(GUESTS)).to_string()),
            ..request(6, token)
        }
    };
    rate("a mixture beside 1,000 guests", count, request);
    rate("GET config", count / 10, only("GET", "/nodes/stg1/qemu/ID/config"));
    rate("GET status/current", count / 10, only("GET", "/nodes/stg1/qemu/ID/status/current"));
    rate("GET /cluster/resources", count / 1000, only("GET", "/cluster/resources"));
    rate("GET /nodes/stg1/qemu", count / 1000, only("GET", "/nodes/stg1/qemu"));
}
