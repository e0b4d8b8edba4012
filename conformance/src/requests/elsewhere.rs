//! Places that are never read.

use super::{Answer, List, NO_TOKEN, NONE, refused};
use crate::attacks::Row;

/// Where clients also put tokens, and where somebody behind a proxy might look.
pub(super) fn places(list: &mut List, good: &str, access: &str) {
    for name in [
        "access_token",
        "token",
        "jwt",
        "id_token",
        "bearer_token",
        "authorization",
        "auth",
        "CF_Authorization",
    ] {
        let request = list.add(&format!("in the query as {name}"), Vec::new(), refused(NONE));
        request.path = format!("/api/x?{name}={good}");
    }
    for (name, cookie) in [
        ("token", format!("token={good}")),
        ("access_token", format!("access_token={good}")),
        ("authorization", format!("authorization=Bearer {good}")),
        ("session", format!("__Host-session={good}")),
        ("CF_Authorization", format!("CF_Authorization={access}")),
        (
            "CF_AppSession",
            format!("CF_AppSession={access}; CF_Authorization={access}"),
        ),
    ] {
        list.add(
            &format!("in the cookie {name}"),
            vec![("cookie", cookie.into_bytes())],
            refused(NONE),
        );
    }
    let bearer = format!("Bearer {good}");
    for header in [
        "proxy-authorization",
        "x-authorization",
        "x-forwarded-authorization",
        "x-original-authorization",
        "x-access-token",
        "x-auth-token",
        "x-id-token",
        "x-jwt-assertion",
        "x-forwarded-access-token",
        "x-ms-token-aad-access-token",
        "x-goog-iap-jwt-assertion",
        "x-amzn-oidc-data",
        "x-serverless-authorization",
        "cf-access-token",
        "cf-authorization",
        "sec-authorization",
        "authentication",
        "www-authenticate",
    ] {
        let line = (header, bearer.clone().into_bytes());
        list.add(&format!("in the header {header}"), vec![line], refused(NONE));
    }
    let request = list.add(
        "in a form",
        vec![("content-type", b"application/x-www-form-urlencoded".to_vec())],
        refused(NONE),
    );
    request.method = "POST";
    request.body = format!("access_token={good}");
    let protocol = |value: String| ("sec-websocket-protocol", value.into_bytes());
    let offered = protocol(format!("alphaswarm.bearer.{good}"));
    list.add(
        "in a subprotocol without a handshake",
        vec![offered.clone()],
        refused(NONE),
    );

    list.row = Row::Cve;
    // Whoever joins these to the real name reads a credential that nobody has checked.
    for (header, value) in [
        ("cf_access_jwt_assertion", access.to_owned()),
        ("cf-access_jwt-assertion", access.to_owned()),
        ("authorization_", bearer.clone()),
        ("x_forwarded_access_token", good.to_owned()),
        ("x_alphaswarm_tenant", "entra-a".to_owned()),
        ("x_alphaswarm_principal", "entra:x".to_owned()),
    ] {
        let line = (header, value.into_bytes());
        list.add(
            &format!("CVE-2025-64484 oauth2-proxy: the header {header}"),
            vec![line],
            refused(NONE),
        )
        .proxy = Answer::Malformed;
    }
    list.row = Row::Transport;
    let handshake = |protocols: Vec<String>| {
        let mut lines = vec![
            ("connection", b"Upgrade".to_vec()),
            ("upgrade", b"websocket".to_vec()),
            ("sec-websocket-version", b"13".to_vec()),
            ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==".to_vec()),
        ];
        lines.extend(protocols.into_iter().map(protocol));
        lines
    };
    let offer = |token: &str| format!("alphaswarm.bearer.{token}");
    list.add(
        "two tokens in the subprotocols",
        handshake(vec![format!("{}, {}", offer(good), offer(good))]),
        refused("credential subprotocol: two credentials"),
    );
    list.add(
        "two lines of subprotocols",
        handshake(vec![offer(good), "chat".to_owned()]),
        refused("credential subprotocol: repeated"),
    );
    list.add(
        "an empty subprotocol token",
        handshake(vec![offer("")]),
        refused(NO_TOKEN),
    );
    list.add(
        "an Access token in a subprotocol",
        handshake(vec![offer(access)]),
        refused("token refused: iss: "),
    );
    let mut lines = handshake(vec![offer(good)]);
    lines.push(("authorization", bearer.into_bytes()));
    list.add(
        "authorization beside a subprotocol token",
        lines,
        refused("credential authorization beside a subprotocol credential"),
    );
}
