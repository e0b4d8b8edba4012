//! A stack that trusts the table's providers, and how it is asked.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use conformance::{Setting, providers, requests::Request};
use contract::dev::DemoCellAnswer;
use contract::{CellId, ProviderId, TenantId, port};
use devkit::envoy::packaging::Packaging;
use devkit::stack::{Part, Stack};
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request as Asked};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use registry::command::{LinkId, TenantSettings};
use registry::{Command, LinkState, TenantState};
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::alike;
use crate::checks::now;
use crate::harness::{apply, registry, wait_until};
use crate::wire;

/// One kind of denial as clients read it: who told it, and everything that it said but the request's id.
pub(super) type Told = (String, String);
/// Every kind that was met, with how often.
pub(super) type Bodies = BTreeMap<Told, usize>;

/// Who decides for the stack's two Envoys: the router, and the module by what the same router publishes.
pub(super) const PACKAGINGS: [Packaging; 2] = [Packaging::Service, Packaging::Module];

fn envoy(by: Packaging) -> usize {
    match by {
        Packaging::Service => 0,
        Packaging::Module => 1,
    }
}

/// What came of a request.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) status: u16,
    /// Empty if allowed.
    pub(super) code: String,
    pub(super) request_id: String,
    /// Those that were set for the cell, or told to the client.
    pub(super) headers: BTreeMap<String, String>,
    body: String,
}

impl Verdict {
    fn new(status: u16, headers: BTreeMap<String, String>, body: String) -> Self {
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            status,
            code: text(&json["error"]["code"]),
            request_id: text(&json["error"]["request_id"]),
            headers,
            body,
        }
    }

    /// The values of a header that the cell received, as it says itself.
    pub(super) fn received(&self, name: &str) -> Vec<String> {
        let answer: DemoCellAnswer = serde_json::from_str(&self.body).unwrap();
        answer.headers.get(name).cloned().unwrap_or_default()
    }

    /// Counts a 401 under all that a client can read of it. Whether there was a credential is no secret.
    pub(super) fn count(&self, by: &str, reason: &str, bodies: &mut Bodies) {
        assert_eq!(self.status, 401);
        assert!(!self.request_id.is_empty(), "{self:?}");
        let kind = if reason == "no credential" {
            "no credential"
        } else {
            "refused"
        };
        // The router told its client, Envoy, the id; here nobody repeats it in a header.
        let told = alike::answer(self.status, &self.headers, &self.body).replace(&self.request_id, "<id>");
        let told = (format!("{by}, {kind}"), told);
        *bodies.entry(told).or_default() += 1;
    }

    /// What must be the same whoever decided.
    pub(super) fn answer(&self) -> String {
        alike::answer(self.status, &self.headers, &self.body)
    }
}

/// The stack, the key server beside it, and the server that nobody may ask.
pub(super) struct World {
    pub(super) stack: Stack,
    pub(super) setting: Setting,
    canary: TcpListener,
    client: AuthorizationClient<Channel>,
}

impl World {
    /// Starts it; both ways of asking are known to work when this returns.
    pub(super) async fn start() -> Self {
        let canary = TcpListener::bind("127.0.0.1:0").unwrap();
        canary.set_nonblocking(true).unwrap();
        let setting = Setting {
            now: now(),
            canary: format!("http://{}", canary.local_addr().unwrap()),
        };
        let key_server = serve_keys(setting.now).await;
        let stack = Stack::builder()
            .packaging(Packaging::Service)
            .envoys(2)
            .module_in(envoy(Packaging::Module))
            .without(Part::Idp)
            .identity(providers::toml(
                setting.now,
                Some(&format!("http://{key_server}")),
            ))
            .start()
            .await
            .unwrap();
        link(&stack, setting.now).await;
        let address = format!("http://{}", stack.ports().addr(port::ROUTER_GRPC));
        let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
        let world = Self {
            stack,
            setting,
            canary,
            client: AuthorizationClient::new(channel),
        };
        for twin in conformance::requests::twins(&world.setting) {
            wait_until(&format!("the good twin passes: {}", twin.name), async || {
                world.ask(&twin, "start").await.status == 200
            })
            .await;
            for by in PACKAGINGS {
                wait_until(&format!("{by:?} lets it pass: {}", twin.name), async || {
                    let verdict = world.send(by, &twin).await;
                    verdict.is_ok_and(|verdict| verdict.status == 200)
                })
                .await;
            }
        }
        world
    }

    /// Asks the router, as Envoy would.
    pub(super) async fn ask(&self, request: &Request, id: &str) -> Verdict {
        let id = ("x-request-id", id.as_bytes().to_vec());
        let headers = request
            .lines
            .iter()
            .chain([&id])
            .map(|(name, value)| HeaderValue {
                key: (*name).to_owned(),
                raw_value: value.clone(),
                ..HeaderValue::default()
            });
        let http = HttpRequest {
            method: request.method.to_owned(),
            host: "edge.localhost".to_owned(),
            path: request.path.clone(),
            header_map: Some(HeaderMap {
                headers: headers.collect(),
            }),
            ..HttpRequest::default()
        };
        let check = CheckRequest {
            attributes: Some(AttributeContext {
                request: Some(Asked {
                    http: Some(http),
                    ..Asked::default()
                }),
                ..AttributeContext::default()
            }),
        };
        let response = self.client.clone().check(check).await.unwrap().into_inner();
        let grpc = response.status.unwrap().code;
        let (status, headers, body) = match response.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => (200, ok.headers, String::new()),
            HttpResponse::DeniedResponse(denied) | HttpResponse::ErrorResponse(denied) => (
                u16::try_from(denied.status.unwrap().code).unwrap(),
                denied.headers,
                denied.body,
            ),
        };
        assert_eq!(grpc == 0, status == 200);
        let headers = headers
            .into_iter()
            .filter_map(|option| option.header)
            .map(|header| (header.key, header.value));
        Verdict::new(status, headers.collect(), body)
    }

    /// Sends it to an Envoy, byte for byte.
    pub(super) async fn send(&self, by: Packaging, request: &Request) -> anyhow::Result<Verdict> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: edge.localhost",
            request.method, request.path
        )
        .into_bytes();
        if !request.body.is_empty() {
            head.extend(format!("\r\ncontent-length: {}", request.body.len()).into_bytes());
        }
        for (name, value) in &request.lines {
            head.extend([b"\r\n", name.as_bytes(), b": ", value.as_slice()].concat());
        }
        let edge = self.stack.ports_of(envoy(by)).addr(port::EDGE);
        let reply = wire::send(edge, &head, request.body.as_bytes()).await?;
        Ok(Verdict::new(
            reply.status,
            reply.headers.into_iter().collect(),
            reply.body,
        ))
    }

    /// The reasons of denials by request id, once those of all of `ids` are told: by the router's log, or by the access
    /// log of the Envoy that decides itself.
    pub(super) async fn reasons(&self, by: Packaging, ids: &[&str]) -> HashMap<String, String> {
        let (part, outcome) = match by {
            Packaging::Service => (Part::Router(0), "outcome"),
            Packaging::Module => (Part::Envoy(envoy(by)), "decision"),
        };
        let path = self.stack.program(part).unwrap().log_path().to_owned();
        let read = || {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let denials = lines.filter(|line| line[outcome] == "deny").map(|line| {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                (text("request_id"), text("reason"))
            });
            denials.collect::<HashMap<_, _>>()
        };
        wait_until("the log tells every denial", async || {
            let told = read();
            ids.iter().all(|id| told.contains_key(*id))
        })
        .await;
        read()
    }

    pub(super) fn assert_nobody_asked_the_attacker(&self) {
        let nobody = self.canary.accept().unwrap_err();
        assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    }
}

/// Serves the key sets of all providers under their names, for as long as the test runs.
async fn serve_keys(at: i64) -> SocketAddr {
    let sets: HashMap<String, Vec<u8>> = providers::all(at)
        .iter()
        .map(|provider| (provider.name.to_owned(), provider.key_set()))
        .collect();
    let serve = async |State(sets): State<HashMap<String, Vec<u8>>>, Path(name): Path<String>| {
        sets.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
    };
    let app = Router::new()
        .route("/{provider}", axum::routing::get(serve))
        .with_state(sets);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Gives each link of the table its own tenant, placed in the shared cell.
async fn link(stack: &Stack, at: i64) {
    let store = registry(stack).await;
    for provider in providers::all(at) {
        for (kind, external_id, tenant) in provider.links {
            let tenant = TenantId::parse(tenant).unwrap();
            let link = LinkId {
                provider: ProviderId::parse(provider.name).unwrap(),
                kind: kind.parse().unwrap(),
                external_id: (*external_id).to_owned(),
            };
            for command in [
                Command::AddTenant(TenantSettings {
                    id: tenant.clone(),
                    name: tenant.to_string(),
                    requests_per_second: None,
                    tier: None,
                    region: None,
                    apart: None,
                    drain: registry::Drain::Refuse,
                }),
                Command::SetTenantState {
                    tenant: tenant.clone(),
                    state: TenantState::Active,
                },
                Command::AddLink {
                    link: link.clone(),
                    tenant: tenant.clone(),
                },
                Command::SetLinkState {
                    link,
                    state: LinkState::Active,
                },
                Command::Place {
                    tenant,
                    cell: CellId::parse(devkit::dev::SHARED_CELL).unwrap(),
                },
            ] {
                apply(&store, command).await;
            }
        }
    }
}
