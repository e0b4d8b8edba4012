//! `alphaswarm-dev up`: the dev stack in the foreground, until Ctrl-C.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use contract::port;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::envoy::packaging::Packaging;
use crate::progress::Progress;
use crate::stack::Stack;
use crate::{dev, place};

/// Where the state lies in the repository.
const STATE_DIR: &str = ".alphaswarm";
/// How often the programs are looked at.
const WATCH: Duration = Duration::from_millis(200);
/// Ctrl-C stops everything within 10 s: what is left after this is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(9);

/// What `alphaswarm-dev up` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where registry, keys, configuration and logs are kept [default: .alphaswarm in the repository]
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// Moves all ports together
    #[arg(long, env = "ALPHASWARM_PORT_OFFSET", default_value_t = 0)]
    pub port_offset: u16,
    /// Envoy's worker threads
    #[arg(long, default_value_t = 1)]
    pub envoy_concurrency: u32,
    /// Where requests are decided: in a tenant-router that Envoy asks, or inside Envoy
    #[arg(long, env = "ALPHASWARM_PACKAGING", value_enum, default_value_t)]
    pub packaging: Packaging,
    /// Where routers, control plane and cells send traces, such as http://127.0.0.1:4317, which is where Envoy sends its
    /// own (moved with all ports) [default: nowhere]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp: Option<String>,
    /// Instead of the text, one JSON line on stdout when everything is ready
    #[arg(long)]
    pub json: bool,
}

/// Runs the stack until Ctrl-C, SIGTERM, a closed terminal, or the death of a program, which is an error.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let folder = match &args.state_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => place::repository()?.join(STATE_DIR),
    };
    // Held until the end: two stacks on one registry and one set of logs would only confuse.
    let _lock = lock(&folder)?;
    let builder = Stack::builder()
        .state_dir(&folder)
        .port_offset(args.port_offset)
        .envoy_concurrency(args.envoy_concurrency)
        .packaging(args.packaging)
        .control_plane()
        .traces(args.otlp.clone())
        .progress(Progress::stderr());
    let stack = tokio::select! {
        stack = builder.start() => stack?,
        // What was started so far is dropped, which kills it.
        () = stop.asked() => return Ok(()),
    };
    say(&if args.json {
        format!("{}\n", summary(&stack, args.packaging))
    } else {
        welcome(&stack, args.packaging)
    });

    let outcome = loop {
        tokio::select! {
            () = stop.asked() => break Ok(()),
            () = tokio::time::sleep(WATCH) => {
                if let Some(death) = stack.death() {
                    break Err(anyhow::anyhow!(death));
                }
            }
        }
    };
    eprintln!("stopping");
    tokio::select! {
        forced = stack.stop() => {
            for name in forced {
                eprintln!("{name} did not stop in time and was killed");
            }
        }
        () = tokio::time::sleep(STOP_DEADLINE) => eprintln!("not everything stopped in time: killing the rest"),
        () = stop.asked() => eprintln!("killing the rest"),
    }
    outcome
}

/// Everything that asks `up` to stop.
struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
        })
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!(
            "another dev stack runs in {}: stop it, or use another --state-dir",
            folder.display()
        );
    }
    Ok(file)
}

/// What a person sees when everything is ready. Whoever reads it may be gone already.
fn say(text: &str) {
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

fn welcome(stack: &Stack, packaging: Packaging) -> String {
    let ports = stack.ports();
    let at = |default| ports.at(default);
    let [shared, dedicated] = port::DEMO_CELLS;
    let [shared_runtime, dedicated_runtime] = port::DEMO_RUNTIMES;
    let folder = stack.state_dir().display();
    let mut cli = short(&place::program("alphaswarm").unwrap_or_else(|_| "alphaswarm".into()));
    if ports.offset() != 0 {
        cli = format!("ALPHASWARM_PORT_OFFSET={} {cli}", ports.offset());
    }
    // Commands on the registry look below the current folder.
    let elsewhere = std::env::current_dir().is_ok_and(|here| here.join(STATE_DIR) != stack.state_dir());
    let on_registry = if elsewhere {
        format!("REGISTRY_URL={} {cli}", stack.registry_url())
    } else {
        cli.clone()
    };
    let edge = format!("localhost:{}", at(port::EDGE));
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\nready\n\n\
         \x20 edge (Envoy)     http://{edge}   admin http://127.0.0.1:{admin}{decides}\n\
         \x20 tenant-router    ext_authz 127.0.0.1:{grpc}   http://127.0.0.1:{http}   xDS 127.0.0.1:{control}\n\
         \x20 demo cells       {shared_cell} {shared} (runtime {shared_runtime})   {dedicated_cell} {dedicated} (runtime {dedicated_runtime})\n\
         \x20 dev identity     http://127.0.0.1:{idp}   (Entra ID, Auth0, Cloudflare Access)\n\
         \x20 registry         {registry}\n\
         \x20 logs             {folder}/*.log\n\n\
         A request of each tenant:\n\n",
        admin = at(port::EDGE_ADMIN),
        decides = match packaging {
            Packaging::Service => "",
            Packaging::Module => "   (decides itself, by what the tenant-router publishes)",
        },
        grpc = at(port::ROUTER_GRPC),
        http = at(port::ROUTER_HTTP),
        control = at(port::ROUTER_CONTROL),
        shared_cell = dev::SHARED_CELL,
        dedicated_cell = dev::DEDICATED_CELL,
        shared = at(shared),
        dedicated = at(dedicated),
        shared_runtime = at(shared_runtime),
        dedicated_runtime = at(dedicated_runtime),
        idp = at(port::DEV_IDP),
        registry = stack.registry_url(),
    );
    for tenant in dev::TENANTS {
        let header = match tenant.provider {
            contract::dev::DevProvider::CloudflareAccess => "cf-access-jwt-assertion: ",
            _ => "authorization: Bearer ",
        };
        let remark = if tenant.link_active {
            ""
        } else {
            "   # refused: its link waits for promotion"
        };
        let _ = writeln!(
            text,
            "  curl -H \"{header}$({cli} token mint --tenant {})\" {edge}/api/x{remark}",
            tenant.id
        );
    }
    let _ = write!(
        text,
        "\nWatch the route change, with the stack running:\n\n  {on_registry} tenants list\n  {on_registry} tenants move --tenant acme --to {} --actor \"$(id -un)\"\n\n\
         Ctrl-C stops everything.\n",
        dev::DEDICATED_CELL
    );
    text
}

fn summary(stack: &Stack, packaging: Packaging) -> serde_json::Value {
    let ports = stack.ports();
    let pids: serde_json::Map<_, _> = stack
        .programs()
        .map(|(_, program)| (program.name().to_owned(), json!(program.pid())))
        .collect();
    json!({
        "ready": true,
        "packaging": match packaging {
            Packaging::Service => "service",
            Packaging::Module => "module",
        },
        "edge": format!("http://{}", stack.edge()),
        "edge_admin": format!("http://{}", ports.addr(port::EDGE_ADMIN)),
        "router": format!("http://{}", stack.router_http()),
        "router_grpc": ports.addr(port::ROUTER_GRPC),
        "router_control": ports.addr(port::ROUTER_CONTROL),
        "idp": dev::idp_url(ports.offset()),
        "cells": dev::CELLS,
        "registry": stack.registry_url(),
        "state_dir": stack.state_dir(),
        "port_offset": ports.offset(),
        "pids": pids,
    })
}

/// A path as one would type it: relative to the current folder if it lies below.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
