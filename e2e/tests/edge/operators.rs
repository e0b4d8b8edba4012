//! Customers grant nothing over the platform: operator scopes count only from who is listed in `ALPHASWARM_OPERATORS`,
//! with the operators' own audience. From anyone else they are dropped before anything can read them.

use contract::dev::{DemoCellAnswer, DevProvider, MintRequest, Minted};
use contract::{header, port};
use devkit::dev;
use devkit::stack::Stack;
use serde_json::{Value, json};

use crate::harness::{among_others, line, shared, wait_until};
use crate::wire::{self, Reply};

/// Asks the operators' endpoint.
pub(crate) async fn set_aside(stack: &Stack, lines: &[&str]) -> Reply {
    wire::get(
        stack.ports().addr(port::ROUTER_CONTROL),
        "/registry/set-aside",
        lines,
    )
    .await
    .unwrap()
}

fn operator(scope: &str) -> MintRequest {
    MintRequest {
        roles: vec![scope.to_owned()],
        ..MintRequest::good(dev::OPERATOR)
    }
}

#[tokio::test]
async fn operators_need_their_own_tenant_and_their_own_audience() {
    let _machine = among_others().await;
    let stack = shared().await;
    let ask = async |request: &MintRequest| {
        let token = stack.mint(request).await.unwrap();
        let reply = set_aside(stack, &[&line(&token)]).await;
        (reply.status, reply.code())
    };
    let ok = || (200, String::new());
    let forbidden = || (403, "forbidden".to_owned());
    let unauthenticated = || (401, "unauthenticated".to_owned());

    assert_eq!(
        ask(&operator("cluster:read")).await,
        ok(),
        "tenant and audience are listed"
    );
    let scoped = MintRequest {
        scopes: vec!["cluster:read".to_owned()],
        ..MintRequest::good(dev::OPERATOR)
    };
    assert_eq!(ask(&scoped).await, ok(), "in scp");
    let service = MintRequest {
        service: true,
        ..operator("cluster:read")
    };
    assert_eq!(ask(&service).await, ok(), "a service of the operators");

    for (what, request) in [
        ("no operator scope", operator("read:all")),
        ("another operator scope", operator("cluster:admin")),
        ("a longer name", operator("cluster:reader")),
        (
            "the customers' audience",
            MintRequest {
                audience: Some(dev::ENTRA_CLIENT_ID.to_owned()),
                ..operator("cluster:read")
            },
        ),
        (
            "the customers' other audience",
            MintRequest {
                audience: Some(dev::ENTRA_APP_ID_URI.to_owned()),
                version: Some(1),
                ..operator("cluster:read")
            },
        ),
        (
            "a customer's tenant with the operators' audience",
            MintRequest {
                audience: Some(dev::OPERATOR_AUDIENCE.to_owned()),
                roles: vec!["cluster:read".to_owned()],
                ..MintRequest::good("acme")
            },
        ),
        (
            "a stranger's tenant with the operators' audience",
            MintRequest {
                audience: Some(dev::OPERATOR_AUDIENCE.to_owned()),
                roles: vec!["cluster:read".to_owned()],
                ..MintRequest::good("nobody")
            },
        ),
    ] {
        assert_eq!(ask(&request).await, forbidden(), "{what}");
    }
    let tid_of_operators = |mut request: MintRequest| {
        request.claims.insert("tid".to_owned(), json!(dev::OPERATOR_TID));
        request
    };
    for (what, request) in [
        (
            "expired",
            MintRequest {
                lifetime: Some(-3600),
                ..operator("cluster:read")
            },
        ),
        (
            "another audience",
            MintRequest {
                audience: Some("api://ops".to_owned()),
                ..operator("cluster:read")
            },
        ),
        ("two audiences", {
            let mut request = operator("cluster:read");
            request.claims.insert(
                "aud".to_owned(),
                json!([dev::ENTRA_CLIENT_ID, dev::OPERATOR_AUDIENCE]),
            );
            request
        }),
        (
            "the operators' tid in a customer's issuer",
            tid_of_operators(MintRequest {
                audience: Some(dev::OPERATOR_AUDIENCE.to_owned()),
                roles: vec!["cluster:read".to_owned()],
                ..MintRequest::good("acme")
            }),
        ),
        (
            "the operators' audience from another provider",
            MintRequest {
                provider: Some(DevProvider::Auth0),
                audience: Some(dev::OPERATOR_AUDIENCE.to_owned()),
                ..operator("cluster:read")
            },
        ),
        ("the operators' tid as an organization of another provider", {
            let mut request = MintRequest {
                provider: Some(DevProvider::Auth0),
                ..operator("cluster:read")
            };
            request
                .claims
                .insert("org_id".to_owned(), json!(dev::OPERATOR_TID));
            request.claims.insert("tid".to_owned(), json!(dev::OPERATOR_TID));
            request
        }),
    ] {
        let answer = ask(&request).await;
        assert!(
            answer == unauthenticated() || answer == forbidden(),
            "{what}: {answer:?}"
        );
        println!("{what}: {answer:?}");
    }
}

#[tokio::test]
async fn the_operators_endpoint_reads_one_bearer_token_only() {
    let _machine = among_others().await;
    let stack = shared().await;
    let good = stack.mint(&operator("cluster:read")).await.unwrap();
    let bearer = line(&good);
    let other = line(&stack.token("acme").await.unwrap());
    let elsewhere = [
        vec![],
        vec![bearer.clone(), bearer.clone()],
        vec![bearer.clone(), other.clone()],
        vec![other, bearer.clone()],
        vec![format!("{bearer},{bearer}")],
        vec![format!("cookie: token={}", good.token)],
        vec![format!("cf-access-jwt-assertion: {}", good.token)],
        vec![format!(
            "sec-websocket-protocol: alphaswarm.bearer.{}",
            good.token
        )],
        vec![format!("x-alphaswarm-scopes: cluster:read")],
        vec![line(&stack.token("initech").await.unwrap())],
    ];
    for lines in &elsewhere {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let reply = set_aside(stack, &lines).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "unauthenticated"),
            "{} {lines:?}",
            reply.body
        );
    }
    let reply = set_aside(stack, &[&bearer]).await;
    assert_eq!((reply.status, &reply.json()["data"]), (200, &json!([])));
}

/// On a platform route that demands an operator scope: operators reach the service and it sees their scopes; customers
/// with the same words in their tokens do not.
#[tokio::test]
async fn a_platform_route_that_demands_an_operator_scope() {
    let _machine = among_others().await;
    let stack = Stack::builder().start().await.unwrap();
    let platform = stack.ports().addr(port::DEMO_CELLS[1]); // it answers with what it received
    let policy = format!(
        "[[platform]]\nname = \"control-plane\"\naddress = \"{platform}\"\n\
         [[route]]\nprefix = \"/manage\"\nclass = \"platform\"\nplatform = \"control-plane\"\nscopes = [\"cluster:admin\"]\n"
    );
    std::fs::write(stack.state_dir().join("policy.toml"), policy).unwrap();
    let get = async |token: &Minted| {
        wire::get(stack.edge(), "/manage/cells", &[&line(token)])
            .await
            .unwrap()
    };
    let admin = stack.mint(&operator("cluster:admin")).await.unwrap();
    wait_until("the platform route is live", async || {
        get(&admin).await.status == 200
    })
    .await;
    let reply = get(&admin).await;
    let answer: DemoCellAnswer = serde_json::from_str(&reply.body).unwrap();
    assert!(
        answer.headers[header::SCOPES][0]
            .split(' ')
            .any(|scope| scope == "cluster:admin"),
        "{:?}",
        answer.headers
    );
    assert_eq!(answer.headers[header::CELL], ["platform:control-plane"]);
    assert_eq!(answer.tenant, None, "operators are no tenant");

    for (what, request) in [
        (
            "a customer",
            MintRequest {
                roles: vec!["cluster:admin".to_owned()],
                ..MintRequest::good("acme")
            },
        ),
        (
            "a customer at Auth0",
            MintRequest {
                roles: vec!["cluster:admin".to_owned()],
                ..MintRequest::good("globex")
            },
        ),
        (
            "an operator with the customers' audience",
            MintRequest {
                audience: Some(dev::ENTRA_CLIENT_ID.to_owned()),
                ..operator("cluster:admin")
            },
        ),
        ("an operator without the scope", operator("cluster:read")),
    ] {
        let reply = get(&stack.mint(&request).await.unwrap()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (403, "forbidden"),
            "{what}: {}",
            reply.body
        );
    }
    let anonymous = wire::get(stack.edge(), "/manage/cells", &[]).await.unwrap();
    assert_eq!(anonymous.status, 401);
    // An operator is nobody's tenant: the cells stay closed.
    let in_cell = wire::get(stack.edge(), "/api/x", &[&line(&admin)]).await.unwrap();
    assert_eq!((in_cell.status, in_cell.code().as_str()), (403, "unknown_tenant"));
    let _: Value = in_cell.json();
}
