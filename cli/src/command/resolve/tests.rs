use super::*;

fn read_text(status: u16, body: &str) -> Result<Resolved, Failure> {
    read(
        StatusCode::from_u16(status).unwrap(),
        body.as_bytes(),
        "the router",
    )
}

#[test]
fn an_answer_is_shown_and_a_denial_says_what_to_do() {
    let resolved = read_text(
        200,
        r#"{"status":"ok","data":{"tenant":"acme","cell":"cell-a","principal":"entra:x","provider":"entra","registry_version":"1.4"},"error":null}"#,
    )
    .unwrap();
    assert_eq!(resolved.cell, "cell-a");
    assert_eq!(fields(&resolved).len(), 5);

    for code in Code::ALL {
        let body = serde_json::to_string(&Envelope::<()>::refused(*code, "r-1")).unwrap();
        let failure = read_text(code.status(), &body).unwrap_err();
        assert_eq!(
            (failure.exit_code(), failure.code.as_deref()),
            (1, Some(code.as_str()))
        );
        assert!(failure.next.is_some_and(|next| next.len() > 10), "{code}");
    }
}

#[test]
fn a_stranger_is_not_believed() {
    let denial =
        r#"{"status":"error","data":null,"error":{"code":"gone_fishing","message":"m","request_id":""}}"#;
    assert_eq!(
        read_text(418, denial).unwrap_err().code.as_deref(),
        Some("gone_fishing")
    );
    let allowed = r#"{"status":"ok","data":{"tenant":null,"cell":"c","principal":null,"provider":null,"registry_version":"1.4"},"error":null}"#;
    for (status, body) in [
        (200, "hello"),
        (404, ""),
        (502, "<html>"),
        (500, allowed),
        (200, r#"{"status":"ok","data":null,"error":null}"#),
    ] {
        let failure = read_text(status, body).unwrap_err();
        assert!(
            failure.what.contains("without our envelope"),
            "{status} {body}: {}",
            failure.what
        );
    }
}

#[test]
fn a_token_in_a_request_is_not_shown_by_debug() {
    let value = secret("Bearer a.secret.b").unwrap();
    assert!(!format!("{value:?}").contains("secret"));
    let failure = secret("Bearer a.\u{1}secret").unwrap_err();
    assert!(!failure.what.contains("secret"), "{}", failure.what);
}
