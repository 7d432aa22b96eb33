//! Every row of the settings.

use super::*;

/// Loads a `.env` text in which a cluster without `API_URL` or `TOKEN_ID` gets some.
pub(crate) fn registry(text: &str) -> Result<Registry, Vec<Diagnostic>> {
    let names = text.lines().find_map(|line| line.strip_prefix("PROXMOX_CLUSTERS=")).unwrap_or_default();
    let mut text = text.to_owned();
    let prefixes: Vec<String> = match names.trim() {
        "" => vec!["PROXMOX".to_owned()],
        names => items(names).map(|name| format!("PROXMOX_CLUSTER_{name}")).collect(),
    };
    for prefix in prefixes {
        for line in ["API_URL=https://pve.example.net:8006", "TOKEN_ID=fleet@pve!test", "TOKEN_SECRET=s3cret"] {
            let name = line.split('=').next().unwrap();
            if !text.contains(&format!("{prefix}_{name}=")) {
                text.push_str(&format!("{prefix}_{line}\n"));
            }
        }
    }
    raw(&text)
}

fn raw(text: &str) -> Result<Registry, Vec<Diagnostic>> {
    let variables = Variables::merge([], &[(".env".to_owned(), text.to_owned())]);
    load(&variables, &|source| match source {
        SecretSource::File(name) if name == "good" => Ok("from-file\n".to_owned()),
        SecretSource::Command(line) => Ok(format!("from {line}")),
        SecretSource::File(_) => Err("cannot be read: no such file".to_owned()),
    })
}

fn messages(text: &str) -> Vec<String> {
    raw(text).map(|_| Vec::new()).unwrap_or_else(|problems| {
        problems
            .into_iter()
            .map(|problem| match &problem.place {
                Some(place) => format!("{place}: {}", problem.message),
                None => problem.message,
            })
            .collect()
    })
}

const TWO: &str = "PROXMOX_CLUSTERS=a,b-c\n\
    PROXMOX_CLUSTER_a_API_URL=https://a:8006,https://a2:8006/\n\
    PROXMOX_CLUSTER_a_TOKEN_ID=fleet@pve!aa\n\
    PROXMOX_CLUSTER_a_TOKEN_SECRET=x$y\n\
    PROXMOX_CLUSTER_b-c_API_URL=https://b:8006\n\
    PROXMOX_CLUSTER_B_C_TOKEN_ID=fleet@pve!bc\n\
    PROXMOX_CLUSTER_B_C_TOKEN_SECRET=secret\n";

#[test]
fn several_clusters() {
    let registry = raw(TWO).unwrap();
    assert!(registry.multi && registry.validation);
    assert_eq!(registry.default_cluster(), "a");
    assert_eq!(registry.clusters[0].endpoints, ["https://a:8006", "https://a2:8006"]);
    assert_eq!(registry.clusters[0].credentials.token.as_ref().unwrap().secret.expose(), "x$y");
    assert_eq!(registry.clusters[1].credentials.token.as_ref().unwrap().id, "fleet@pve!bc");
    assert_eq!(registry.cache_ttl, Duration::from_secs(3600));
    assert!(!format!("{registry:?}").contains("x$y"));
}

#[test]
fn one_cluster() {
    let registry = raw("PROXMOX_CLUSTERS=  \nPROXMOX_API_URL=https://pve:8006\nPROXMOX_USERNAME=root@pam\n\
         PROXMOX_PASSWORD=\" pass word\"\nPROXMOX_VERIFY=No\nPROXMOX_DEFAULT_STORAGE=tank\n")
    .unwrap();
    let cluster = &registry.clusters[0];
    assert!(!registry.multi);
    assert_eq!(cluster.name, "default");
    assert!(matches!(cluster.tls, Tls::Unverified));
    assert_eq!(cluster.credentials.login.as_ref().unwrap().password.expose(), " pass word");
    assert_eq!(cluster.default_storage.as_deref(), Some("tank"));
}

#[test]
fn secrets_from_elsewhere() {
    let secret = |line: &str| {
        let text = TWO.replace("PROXMOX_CLUSTER_a_TOKEN_SECRET=x$y", line);
        raw(&text).map(|registry| registry.clusters[0].credentials.token.as_ref().unwrap().secret.expose().to_owned())
    };
    assert_eq!(secret("PROXMOX_CLUSTER_a_TOKEN_SECRET_FILE=good").unwrap(), "from-file");
    assert_eq!(secret("PROXMOX_CLUSTER_a_TOKEN_SECRET_COMMAND='pass show a'").unwrap(), "from pass show a");
    let problems = secret("PROXMOX_CLUSTER_a_TOKEN_SECRET_FILE=bad").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.ends_with("_FILE: cannot be read: no such file"), "{}", problems[0].message);
}

#[test]
fn every_problem_is_reported_at_its_line() {
    let text = "PROXMOX_CLUSTERS=a,a,b-c,b.c,-x,d\n\
        PROXMOX_CLUSTER_PATTERNS=p-:a,p-:a,:a,q-:,r-,s-:nowhere,re:(:a\n\
        PROXMOX_CLUSTER_VMID_RANGES=100-199:a,150-160:d,5-6:a,300-200:a,x:a\n\
        PROXMOX_CLUSTER_VALIDATION=maybe\n\
        PROXMOX_CLUSTER_CACHE_TTL=-1\n\
        PROXMOX_CLUSTER_a_API_URL=pve\n\
        PROXMOX_CLUSTER_a_TOKEN_ID=root@pam!x=SECRET1\n\
        PROXMOX_CLUSTER_a_TOKEN_SECRET=SECRET2\n\
        PROXMOX_CLUSTER_a_TOKEN_SECRET_FILE=good\n\
        PROXMOX_CLUSTER_a_VERIFY=flase\n\
        PROXMOX_CLUSTER_a_ACESS=read\n\
        PROXMOX_CLUSTER_a_ACCESS=write\n\
        PROXMOX_CLUSTER_a_FINGERPRINT=12\n\
        PROXMOX_CLUSTER_b-c_API_URL=https://one:8006\n\
        PROXMOX_CLUSTER_B_C_API_URL=https://two:8006\n\
        PROXMOX_CLUSTER_b-c_USERNAME=root\n\
        PROXMOX_CLUSTER_d_API_URL=http://pve:8006\n\
        PROXMOX_CLUSTER_d_PASSWORD=SECRET3\n\
        PROXMOX_CLUSTER_old_API_URL=https://not-listed:8006\n\
        TWO WORDS=SECRET4\n";
    let found = messages(text);
    let expected = [
        ".env:20: this line cannot be read",
        ".env:1: PROXMOX_CLUSTERS: `a` is named twice",
        ".env:1: PROXMOX_CLUSTERS: `-x` is no cluster name; letters, digits, `.`, `_` and `-` are allowed, not `-` first",
        ".env:1: PROXMOX_CLUSTERS: `b-c` and `b.c` share the variables PROXMOX_CLUSTER_B_C_…",
        ".env:11: PROXMOX_CLUSTER_a_ACESS: there is no setting `ACESS`",
    ];
    for line in expected {
        assert!(found.iter().any(|message| message == line), "{line}\n{found:#?}");
    }
    for part in [
        "`p-` stands twice",
        "`:a` has nothing before",
        "`q-:` names no cluster",
        "`r-` has no `:`",
        "`nowhere`, which is not configured",
        "`(` is no regular expression",
        "`150-160:d` overlaps with 100-199:a",
        "`5` is no guest id",
        "`300-200` ends before it begins",
        "`x` is no range",
        "VALIDATION: `maybe` is not a boolean",
        "`-1` is not a number of seconds",
        "`pve` is no URL",
        "TOKEN_ID: is not of the form user@realm!name",
        "TOKEN_SECRET is set too",
        "`flase` is not a boolean",
        "`write` is neither `read` nor `apply`",
        "is not a SHA-256 fingerprint",
        "b-c_API_URL and PROXMOX_CLUSTER_B_C_API_URL are both set, and differ",
        "`root` is not of the form user@realm",
        "b-c_PASSWORD is not set",
        "would send credentials in clear",
        "d_USERNAME is not set",
    ] {
        assert!(found.iter().any(|message| message.contains(part)), "{part}\n{found:#?}");
    }
    assert!(!found.concat().contains("SECRET1") && !found.concat().contains("SECRET3"));
    assert!(!format!("{:?}", raw(text).unwrap_err()).contains("SECRET4"));
}

#[test]
fn nothing_configured() {
    assert_eq!(messages(""), ["no cluster is configured"]);
    assert_eq!(messages("PROXMOX_CLUSTERS=,\n"), [".env:1: PROXMOX_CLUSTERS: no cluster is named"]);
}

#[test]
fn the_example_file_loads_and_routes() {
    let registry = raw(include_str!("../../.env.example.multi")).unwrap();
    let names: Vec<&str> = registry.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["production", "staging", "disaster-recovery"]);
    for (name, cluster) in [
        ("prod-web-01", "production"),
        ("stg-ci-01", "staging"),
        ("dr-vault-01", "disaster-recovery"),
        ("disaster-recovery-standby-01", "disaster-recovery"),
    ] {
        assert_eq!(registry.select(None, Some(name), None).unwrap().cluster, cluster);
    }
    assert_eq!(registry.get("disaster-recovery").unwrap().access, Access::Apply);
}

/// A cluster in one line, what is as by default left out.
fn line(cluster: &ClusterSettings) -> String {
    let mut parts = vec![cluster.name.clone(), cluster.endpoints.join(" ")];
    if let Some(token) = &cluster.credentials.token {
        parts.push(format!("token={}/{}", token.id, token.secret.expose()));
    }
    if let Some(login) = &cluster.credentials.login {
        parts.push(format!("login={}/{}", login.username, login.password.expose()));
    }
    parts.push(match &cluster.tls {
        Tls::System => "system".to_owned(),
        Tls::CaFile(path) => format!("ca={path}"),
        Tls::Fingerprint(pins) => format!("pins={}", pins.len()),
        Tls::Unverified => "unverified".to_owned(),
    });
    let named = [
        ("node", &cluster.default_node),
        ("storage", &cluster.default_storage),
        ("bridge", &cluster.default_bridge),
        ("region", &cluster.region),
        ("tier", &cluster.tier),
    ];
    parts.extend(named.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value).as_ref()?))));
    if cluster.access == Access::Read {
        parts.push("read".to_owned());
    }
    if cluster.limits != Limits::default() {
        parts.push(format!("requests={}/{}", cluster.limits.per_node, cluster.limits.in_all));
    }
    if cluster.allocations != Allocations::default() {
        let Allocations { per_storage, per_node, in_all } = cluster.allocations;
        parts.push(format!("allocations={per_storage}/{per_node}/{in_all}"));
    }
    parts.join(", ")
}

/// Each setting of a cluster: what is set, and what comes of it or what is said.
const ROWS: &[(&str, &str)] = &[
    // The least that is needed, and what it means.
    ("API_URL=https://h TOKEN_ID=u@pve!t TOKEN_SECRET=s", "https://h:8006, token=u@pve!t/s, system"),
    ("TOKEN_ID=u@pve!t TOKEN_SECRET=s", "error: API_URL is not set"),
    ("API_URL=https://h", "error: TOKEN_ID is not set"),
    ("API_URL=https://h TOKEN_ID=u@pve!t", "error: TOKEN_SECRET is not set"),
    ("API_URL=https://h TOKEN_SECRET=s", "error: TOKEN_ID is not set"),
    // API_URL: Proxmox's port where none is written, a path where one is, several of one cluster.
    ("@t API_URL=https://H.Example.NET/", "https://h.example.net:8006, @t, system"),
    ("@t API_URL=https://h:443/pve/", "https://h:443/pve, @t, system"),
    ("@t API_URL=https://h/api2/json", "https://h:8006, @t, system"),
    ("@t API_URL=https://a,https://b:8007,https://a:8006", "https://a:8006 https://b:8007, @t, system"),
    ("@t API_URL=http://127.0.0.1:8006", "http://127.0.0.1:8006, @t, system"),
    ("@t API_URL=http://h:8006", "error: would send credentials in clear"),
    ("@t API_URL=h:8006", "error: is no URL; write https://host:8006"),
    // TOKEN_ID and the places of its secret.
    ("@u TOKEN_ID=root@pam TOKEN_SECRET=s", "error: TOKEN_ID: is not of the form user@realm!name"),
    ("@u TOKEN_ID=u@pve!t TOKEN_SECRET_FILE=good", "https://h:8006, token=u@pve!t/from-file, system"),
    ("@u TOKEN_ID=u@pve!t TOKEN_SECRET_COMMAND=pass", "https://h:8006, token=u@pve!t/from pass, system"),
    ("@u TOKEN_ID=u@pve!t TOKEN_SECRET_FILE=bad", "error: TOKEN_SECRET_FILE: cannot be read"),
    ("@u TOKEN_ID=u@pve!t TOKEN_SECRET_COMMAND=pass TOKEN_SECRET=s", "error: TOKEN_SECRET is set too; keep one"),
    // USERNAME and PASSWORD, instead of a token or beside it.
    ("@u USERNAME=root@pam PASSWORD=p", "https://h:8006, login=root@pam/p, system"),
    ("@u @t USERNAME=root@pam PASSWORD=p", "https://h:8006, @t, login=root@pam/p, system"),
    ("@u USERNAME=root PASSWORD=p", "error: `root` is not of the form user@realm"),
    ("@u USERNAME=root@pam", "error: PASSWORD is not set"),
    ("@u PASSWORD=p", "error: USERNAME is not set"),
    // VERIFY is strict, and empty means unset.
    ("@u @t VERIFY=1", "https://h:8006, @t, system"),
    ("@u @t VERIFY=YES", "https://h:8006, @t, system"),
    ("@u @t VERIFY=y", "https://h:8006, @t, system"),
    ("@u @t VERIFY=On", "https://h:8006, @t, system"),
    ("@u @t VERIFY=", "https://h:8006, @t, system"),
    ("@u @t VERIFY=0", "https://h:8006, @t, unverified"),
    ("@u @t VERIFY=False", "https://h:8006, @t, unverified"),
    ("@u @t VERIFY=NO", "https://h:8006, @t, unverified"),
    ("@u @t VERIFY=n", "https://h:8006, @t, unverified"),
    ("@u @t VERIFY=off", "https://h:8006, @t, unverified"),
    ("@u @t VERIFY=flase", "error: VERIFY: `flase` is not a boolean"),
    // CA_FILE and FINGERPRINT, one of the two, and only where something is checked.
    ("@u @t CA_FILE=ca.pem", "https://h:8006, @t, ca=ca.pem"),
    ("@u @t FINGERPRINT=@f", "https://h:8006, @t, pins=1"),
    ("@u @t FINGERPRINT=@f,@f", "https://h:8006, @t, pins=2"),
    ("@u @t FINGERPRINT=AB:CD", "error: FINGERPRINT: is not a SHA-256 fingerprint"),
    ("@u @t CA_FILE=ca.pem FINGERPRINT=@f", "error: CA_FILE is set too"),
    ("@u @t CA_FILE=ca.pem VERIFY=no", "error: VERIFY turns the check off"),
    // Defaults, words about the cluster, and what may be done there.
    (
        "@u @t DEFAULT_NODE=n DEFAULT_STORAGE=s DEFAULT_BRIDGE=b REGION=r TIER=t",
        "https://h:8006, @t, system, node=n, storage=s, bridge=b, region=r, tier=t",
    ),
    ("@u @t ACCESS=Read", "https://h:8006, @t, system, read"),
    ("@u @t ACCESS=apply", "https://h:8006, @t, system"),
    ("@u @t ACCESS=write", "error: ACCESS: `write` is neither `read` nor `apply`"),
    // How many requests may be under way, for a node and in all.
    ("@u @t MAX_REQUESTS_PER_NODE=3 MAX_REQUESTS=40", "https://h:8006, @t, system, requests=3/40"),
    ("@u @t MAX_REQUESTS=1 MAX_REQUESTS_PER_NODE=", "https://h:8006, @t, system, requests=8/1"),
    ("@u @t MAX_REQUESTS_PER_NODE=0", "error: MAX_REQUESTS_PER_NODE: `0` is not a number of requests, 1 to 16"),
    ("@u @t MAX_REQUESTS=many", "error: MAX_REQUESTS: `many` is not a number of requests"),
    ("@u @t MAX_REQUESTS=1025", "error: `1025` is not a number of requests, 1 to 1024"),
    // How many steps that make volumes may be, on a storage, on a node and in all.
    (
        "@u @t MAX_ALLOCATIONS_PER_STORAGE=1 MAX_ALLOCATIONS_PER_NODE=2 MAX_ALLOCATIONS=3",
        "https://h:8006, @t, system, allocations=1/2/3",
    ),
    ("@u @t MAX_ALLOCATIONS=20", "https://h:8006, @t, system, allocations=6/6/20"),
    ("@u @t MAX_ALLOCATIONS=0", "error: MAX_ALLOCATIONS: `0` is not a number of allocations, 1 to 256"),
    ("@u @t MAX_ALLOCATIONS_PER_NODE=-1", "error: `-1` is not a number of allocations, 1 to 64"),
    ("@u @t MAX_ALLOCATIONS_PER_STORAGE=65", "error: `65` is not a number of allocations, 1 to 64"),
    // A slip in what protects is told everywhere.
    ("@u @t ACESS=read", "error: ACESS: there is no setting `ACESS`"),
    ("@u @t VERFY=yes", "error: VERFY: there is no setting `VERFY`"),
];

#[test]
fn every_setting_of_a_cluster() {
    let hex = "ab".repeat(32);
    for (settings, expected) in ROWS {
        // The same settings under a name as written, under its folded form, and without a name.
        for (names, name, prefix) in [
            ("PROXMOX_CLUSTERS=dr-1\n", "dr-1", "PROXMOX_CLUSTER_dr-1_"),
            ("PROXMOX_CLUSTERS=dr-1\n", "dr-1", "PROXMOX_CLUSTER_DR_1_"),
            ("PROXMOX_CLUSTERS= \n", "default", "PROXMOX_"),
        ] {
            let settings = settings.replace("@u", "API_URL=https://h").replace("@f", &hex);
            let settings = settings.replace("@t ", "TOKEN_ID=u@pve!t TOKEN_SECRET=s ");
            let lines = settings.split(' ').map(|setting| format!("{prefix}{setting}\n")).collect::<String>();
            let found = match raw(&format!("{names}{lines}")) {
                Ok(registry) => line(&registry.clusters[0]),
                Err(problems) => {
                    let texts: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
                    format!("error: {}", texts.join("\n"))
                }
            };
            match expected.strip_prefix("error: ") {
                Some(part) => assert!(found.contains(part) && found.starts_with("error"), "{settings}: {found}"),
                None => {
                    let expected = expected.replace("@t", "token=u@pve!t/s");
                    assert_eq!(found, format!("{name}, {expected}"), "{settings}");
                }
            }
        }
    }
}

#[test]
fn other_tools_variables_are_left_alone() {
    let text = "PROXMOX_API_URL=https://h\nPROXMOX_TOKEN_ID=u@pve!t\nPROXMOX_TOKEN_SECRET=s\nPROXMOX_USER=u\n\
                PROXMOX_HOST=h\nPROXMOX_VERIFY_SSL=false\nPROXMOX_NODE=n\n";
    assert_eq!(messages(text), Vec::<String>::new());
    let problem = messages(&format!("{}PROXMOX_CLUSTER_a_MAX_REQUEST=5\n", TWO));
    assert_eq!(problem, [".env:8: PROXMOX_CLUSTER_a_MAX_REQUEST: there is no setting `MAX_REQUEST`"]);
}

#[test]
fn every_setting_of_the_fleet() {
    for (setting, expected) in [
        ("", "true 3600 0 0"),
        ("PROXMOX_CLUSTER_VALIDATION=off", "false 3600 0 0"),
        ("PROXMOX_CLUSTER_VALIDATION=perhaps", "`perhaps` is not a boolean"),
        ("PROXMOX_CLUSTER_CACHE_TTL=0", "true 0 0 0"),
        ("PROXMOX_CLUSTER_CACHE_TTL=60", "true 60 0 0"),
        ("PROXMOX_CLUSTER_CACHE_TTL=1h", "`1h` is not a number of seconds"),
        ("PROXMOX_CLUSTER_PATTERNS= p-:a , re:x[0-9]+:b-c ,", "true 3600 2 0"),
        ("PROXMOX_CLUSTER_PATTERNS=p-:A", "names the cluster `A`, which is not configured"),
        ("PROXMOX_CLUSTER_VMID_RANGES=100-199:a,200-299:b-c", "true 3600 0 2"),
        ("PROXMOX_CLUSTER_VMID_RANGES=100-199:a,199-299:b-c", "overlaps with 100-199:a"),
    ] {
        let found = match raw(&format!("{TWO}{setting}\n")) {
            Ok(registry) => format!(
                "{} {} {} {}",
                registry.validation,
                registry.cache_ttl.as_secs(),
                registry.patterns.len(),
                registry.ranges.len()
            ),
            Err(problems) => problems[0].message.clone(),
        };
        assert!(found.contains(expected), "{setting}: {found}");
    }
}
