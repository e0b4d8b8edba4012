//! How each program of the stack is started: its arguments, its environment, and what says that it is ready.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::port;

use super::files;
use crate::envoy::{Launch, config};
use crate::ports::Ports;
use crate::process::Spec;
use crate::{dev, place};

/// Seconds that a stopping router waits for requests under way: short, because Ctrl-C waits for it.
const DRAIN_SECONDS: &str = "2";

/// `name` for the first, `name-2`, `name-3` … for the others.
fn numbered(name: &str, n: usize) -> String {
    if n == 0 {
        name.to_owned()
    } else {
        format!("{name}-{}", n + 1)
    }
}

fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

fn owned<const N: usize>(env: [(&str, String); N]) -> BTreeMap<String, String> {
    env.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

pub(super) fn idp(folder: &Path, ports: Ports) -> anyhow::Result<Spec> {
    let name = "dev-idp".to_owned();
    let listen = ports.addr(port::DEV_IDP);
    Ok(Spec {
        program: place::program(place::DEV)?,
        args: [
            OsString::from("idp"),
            "--listen".into(),
            listen.to_string().into(),
            "--state-dir".into(),
            files::private(folder, &name).into(),
        ]
        .into(),
        env: owned([("ALPHASWARM_LOG", "info".to_owned())]),
        log: log(folder, &name),
        ready: Some((listen, "/healthz".to_owned())),
        name,
    })
}

pub(super) fn cell(folder: &Path, ports: Ports, n: usize) -> anyhow::Result<Spec> {
    let missing = || format!("there is no demo cell {n}");
    let id = dev::CELLS.get(n).with_context(missing)?;
    let listen = ports.addr(*port::DEMO_CELLS.get(n).with_context(missing)?);
    let runtime = ports.addr(*port::DEMO_RUNTIMES.get(n).with_context(missing)?);
    Ok(Spec {
        name: (*id).to_owned(),
        program: place::program(place::DEV)?,
        args: [
            OsString::from("cell"),
            "--id".into(),
            (*id).into(),
            "--listen".into(),
            listen.to_string().into(),
            "--runtime".into(),
            runtime.to_string().into(),
            "--fences".into(),
            files::private(folder, id).into(),
        ]
        .into(),
        env: owned([("ALPHASWARM_LOG", "info".to_owned())]),
        log: log(folder, id),
        ready: Some((runtime, "/healthz".to_owned())),
    })
}

pub(super) fn router(folder: &Path, registry: &str, ports: Ports, n: usize) -> anyhow::Result<Spec> {
    let name = numbered(place::ROUTER, n);
    let file = |path: PathBuf| path.display().to_string();
    Ok(Spec {
        program: place::program(place::ROUTER)?,
        args: Vec::new(),
        env: owned([
            ("ALPHASWARM_ENV", "dev".to_owned()),
            ("ALPHASWARM_PORT_OFFSET", ports.offset().to_string()),
            ("ALPHASWARM_ROUTER_ID", name.clone()),
            ("ALPHASWARM_STATE_DIR", file(files::private(folder, &name))),
            ("ALPHASWARM_OPERATORS", dev::operators()),
            ("ALPHASWARM_DRAIN_SECONDS", DRAIN_SECONDS.to_owned()),
            ("ALPHASWARM_NOT_READY_SECONDS", "0".to_owned()),
            ("ALPHASWARM_LOG", "info".to_owned()),
            ("REGISTRY_URL", registry.to_owned()),
            ("IDENTITY_CONFIG", file(files::identity(folder))),
            ("POLICY_FILE", file(files::policy(folder))),
            ("AUTH_MODE", "required".to_owned()),
            ("CBA_MODE", "enforce".to_owned()),
            // Nobody waits for a new key to be known everywhere, and nobody keeps the old ones.
            ("ASSERTION_KEYS_LIFETIME", "0s".to_owned()),
            // `alphaswarm resolve` asks as Envoy's HTTP filter would.
            ("RESOLVE_FROM", "envoy".to_owned()),
        ]),
        log: log(folder, &name),
        ready: Some((ports.addr(port::ROUTER_HTTP), "/readyz".to_owned())),
        name,
    })
}

pub(super) fn control_plane(folder: &Path, registry: &str, ports: Ports) -> anyhow::Result<Spec> {
    let name = place::CONTROL_PLANE.to_owned();
    let file = |path: PathBuf| path.display().to_string();
    Ok(Spec {
        program: place::program(place::CONTROL_PLANE)?,
        args: Vec::new(),
        env: owned([
            ("ALPHASWARM_PORT_OFFSET", ports.offset().to_string()),
            ("ALPHASWARM_STATE_DIR", file(files::private(folder, &name))),
            ("ALPHASWARM_OPERATORS", dev::operators()),
            ("ALPHASWARM_DRAIN_SECONDS", DRAIN_SECONDS.to_owned()),
            ("ALPHASWARM_LOG", "info".to_owned()),
            ("REGISTRY_URL", registry.to_owned()),
            ("IDENTITY_CONFIG", file(files::identity(folder))),
        ]),
        log: log(folder, &name),
        ready: Some((ports.addr(port::CONTROL_PLANE), "/readyz".to_owned())),
        name,
    })
}

/// A router that knows the control plane and not the database.
pub(super) fn follow_feed(spec: &mut Spec, folder: &Path, ports: Ports) {
    let control_plane = ports.addr(port::CONTROL_PLANE);
    let token = files::feed_token(folder).display().to_string();
    spec.env.extend(owned([
        ("REGISTRY_URL", format!("http://{control_plane}/manage/registry")),
        ("REGISTRY_TOKEN_FILE", token),
    ]));
}

/// Envoy `n` on its own ports, and those of the router that it talks to.
pub(super) fn envoy(
    folder: &Path,
    binary: &Path,
    yaml: &str,
    [own, router]: [Ports; 2],
    n: usize,
    concurrency: u32,
) -> anyhow::Result<Spec> {
    let launch = Launch {
        name: numbered("envoy", n),
        binary: binary.to_owned(),
        config: config::move_ports(yaml, own, router)?,
        folder: folder.to_owned(),
        concurrency,
        admin: own.addr(port::EDGE_ADMIN),
    };
    launch.prepare()
}
