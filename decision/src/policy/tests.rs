use super::*;

const FILE: &str = r#"
[[platform]]
name = "control-plane"
address = "127.0.0.1:8090"

[[route]]
prefix = "/manage"
class = "platform"
platform = "control-plane"

[[route]]
exact = "/manage/login"
class = "platform"
platform = "control-plane"
anonymous = true

[[route]]
prefix = "/public"
class = "public"
cell = "cell-a"

[[route]]
prefix = "/admin"
methods = ["POST", "DELETE"]
class = "step_up"
max_age_seconds = 300
scopes = ["admin"]

[[route]]
host = "*.example.com"
prefix = "/admin"
class = "step_up"

[[route]]
host = "status.example.com"
class = "public"
cell = "cell-b"

# While a tenant moves, a read-only drain lets through what only reads: GET, HEAD and OPTIONS, without an upgrade to
# another protocol. `access` says it where the method does not tell: here of a POST that searches, and of a GET that
# acts. "read" holds for exactly the path as written; "write" in any case.
[[route]]
prefix = "/search"
methods = ["POST"]
class = "authenticated"
access = "read"

[[route]]
exact = "/jobs/start"
class = "authenticated"
access = "write"

[cors]
allow_origins = ["https://app.example.com"]
"#;

fn class(policy: &Policy, method: &str, host: &str, path: &str) -> String {
    match &policy.lookup(method, host, path).class {
        Class::Authenticated => "authenticated".to_owned(),
        Class::StepUp { max_age } => format!("step_up {max_age:?}"),
        Class::Public { cell, .. } => format!("public {cell}"),
        Class::Platform { platform, anonymous } => format!("platform {platform} {anonymous}"),
    }
}

#[test]
fn the_most_specific_rule_wins() {
    let policy = Policy::parse(FILE, 1).unwrap();
    for (method, host, path, expected) in [
        ("GET", "x", "/", "authenticated"),
        ("GET", "x", "", "authenticated"),
        ("GET", "x", "/manage", "platform control-plane false"),
        ("GET", "x", "/manage/", "platform control-plane false"),
        ("GET", "x", "/manage/cells", "platform control-plane false"),
        ("GET", "x", "/managed", "authenticated"),
        ("GET", "x", "/Manage", "platform control-plane false"),
        ("GET", "x", "/Manage/Login", "platform control-plane false"),
        ("GET", "x", "/PUBLIC/logo.png", "authenticated"),
        ("POST", "x", "/ADMIN/users", "step_up Some(300)"),
        ("GET", "x", "/manage/login", "platform control-plane true"),
        ("GET", "x", "/manage/login/x", "platform control-plane false"),
        ("GET", "x", "/public/logo.png", "public cell-a"),
        ("GET", "x", "/admin", "authenticated"),
        ("POST", "x", "/admin", "step_up Some(300)"),
        ("POST", "a.example.com", "/admin", "step_up None"),
        ("GET", "a.example.com", "/public", "public cell-a"),
        ("GET", "status.example.com", "/anything", "public cell-b"),
        ("GET", "example.com", "/anything", "authenticated"),
    ] {
        assert_eq!(
            class(&policy, method, host, path),
            expected,
            "{method} {host} {path}"
        );
    }
}

#[test]
fn a_rule_says_what_the_method_does_not() {
    let policy = Policy::parse(FILE, 1).unwrap();
    for (method, path, expected) in [
        ("GET", "/", Access::Read),
        ("POST", "/", Access::Write),
        ("POST", "/search", Access::Read),
        ("POST", "/search/all", Access::Read),
        ("POST", "/Search", Access::Write),
        ("GET", "/search", Access::Read),
        ("PUT", "/search", Access::Write),
        ("GET", "/jobs/start", Access::Write),
        ("GET", "/Jobs/Start", Access::Write),
        ("GET", "/jobs", Access::Read),
    ] {
        let request = Attributes {
            method,
            path,
            upgrade_shown: true,
            ..Attributes::default()
        };
        let rule = policy.lookup(method, "x", path);
        assert_eq!(rule.access(&request), expected, "{method} {path}");
        // Behind a proxy that hides upgrades it may be the beginning of a conversation.
        let hidden = Attributes {
            upgrade_shown: false,
            ..request
        };
        assert_eq!(rule.access(&hidden), Access::Write, "{method} {path}");
        // Where nothing is known it may write.
        assert_eq!(policy.strictest().access(&request), Access::Write);
        assert_eq!(Policy::default().strictest().access(&request), Access::Write);
    }
}

#[test]
fn nothing_known_means_every_demand_and_no_exemption() {
    let policy = Policy::parse(FILE, 1).unwrap();
    let rule = policy.strictest();
    assert!(matches!(rule.class, Class::StepUp { max_age: Some(300) }));
    assert_eq!(rule.scopes, ["admin"]);
    assert!(matches!(
        Policy::default().strictest().class,
        Class::Authenticated
    ));
}

#[test]
fn every_error_is_reported_and_named() {
    let text = r#"
[[platform]]
name = "Bad Name"
address = "nowhere"
[[route]]
class = "authenticated"
[[route]]
prefix = "/a"
exact = "/b"
class = "authenticated"
[[route]]
prefix = "/a/../b"
class = "authenticated"
[[route]]
prefix = "/p"
class = "public"
[[route]]
prefix = "/q"
class = "platform"
platform = "unknown"
[[route]]
prefix = "/r"
class = "authenticated"
max_age_seconds = 3
methods = ["get"]
[[route]]
host = "Upper.Example"
class = "step_up"
[[platform]]
name = "cp"
address = "127.0.0.1:1"
[[route]]
prefix = "/s"
class = "platform"
platform = "cp"
access = "read"
[cors]
allow_origins = ["app.example.com"]
"#;
    let errors = Policy::parse(text, 1).unwrap_err().to_string();
    for expected in [
        "platform \"Bad Name\": a name",
        "platform \"Bad Name\": address",
        "route 1: say which",
        "route 2: prefix and exact",
        "route 3: \"/a/../b\"",
        "route 4: a public route names the cell",
        "route 5: there is no [[platform]]",
        "route 6: max_age_seconds",
        "route 6: method \"get\"",
        "route 7: host",
        "route 8: access does not belong",
        "cors: \"app.example.com\"",
    ] {
        assert!(
            errors.contains(expected),
            "{expected:?} is missing from:\n{errors}"
        );
    }
}

#[test]
fn a_conflict_refuses_the_file() {
    let twice = |a: &str, b: &str| {
        Policy::parse(
            &format!(
                "[[route]]\nprefix=\"/a\"\nclass=\"authenticated\"\n{a}\n[[route]]\nprefix=\"/a\"\nclass=\"step_up\"\n{b}"
            ),
            1,
        )
    };
    assert!(twice("", "").is_err());
    assert!(twice("methods=[\"GET\",\"PUT\"]", "methods=[\"PUT\"]").is_err());
    assert!(twice("methods=[\"GET\"]", "methods=[\"PUT\"]").is_ok());
    assert!(twice("methods=[\"GET\"]", "").is_ok());
    assert!(twice("host=\"a.example\"", "").is_ok());
    // Also where they only differ in what their requests may do.
    assert!(twice("access=\"read\"", "access=\"write\"").is_err());
    assert!(twice("methods=[\"GET\"]\naccess=\"write\"", "access=\"read\"").is_ok());
    assert!(twice("access=\"execute\"", "methods=[\"GET\"]").is_err());
}

#[test]
fn an_unknown_key_is_an_error() {
    assert!(Policy::parse("[[route]]\nprefix=\"/a\"\nclass=\"authenticated\"\nclas=\"x\"", 1).is_err());
}
