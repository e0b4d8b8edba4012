use conformance::keys::Signer;
use contract::header;
use serde_json::json;

use super::*;
use crate::filter::{Verdict, on_request};
use crate::testing::{FakeHost, FakeOutside, Router, sign};

/// Where a request with this token goes, or the status of its denial.
fn ask(edge: &Edge, token: &str) -> String {
    let mut host = FakeHost::bearer("/", token);
    match on_request(edge, &mut host) {
        Verdict::Continue => host.value(header::CELL).unwrap_or_default().to_owned(),
        Verdict::Answered => host.answered().status.to_string(),
    }
}

/// Looks until `expected` holds.
#[track_caller]
fn look_until(follow: &mut Follow<FakeOutside>, expected: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !expected() {
        assert!(Instant::now() < deadline, "it never came");
        std::thread::sleep(Duration::from_millis(5));
        follow.look();
    }
}

/// Everything that is wrong now.
fn complaints(follow: &mut Follow<FakeOutside>) -> String {
    let mut lines = Vec::new();
    follow.complaints.say(|_, line| lines.push(line.to_owned()));
    let outside = follow.outside.lines();
    outside.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_router_publishes_decides_from_the_next_look_on() {
    let router = Router::new();
    let edge = router.edge();
    let mut follow = router.follow(&edge);
    let token = router.token(json!({}));
    assert_eq!(ask(&edge, &token), "503");
    follow.look();
    assert_eq!(ask(&edge, &token), "cell-a");
    router.publish(2, "cell-b");
    assert_eq!(ask(&edge, &token), "cell-a", "nobody has looked");
    follow.look();
    assert_eq!(ask(&edge, &token), "cell-b");
    assert_eq!(edge.world().version(), "1.2");
    assert!(follow.retired.is_empty(), "nobody uses the old world");
}

#[test]
fn a_key_signs_when_it_may_and_not_before() {
    let router = Router::new();
    router.publish_signing_key(false);
    let edge = router.edge();
    let mut follow = router.follow(&edge);
    follow.look();
    let token = router.token(json!({}));
    assert_eq!(ask(&edge, &token), "503");
    assert!(complaints(&mut follow).contains("assertion key"));
    router.publish_signing_key(true);
    follow.look();
    assert_eq!(ask(&edge, &token), "cell-a");
    let world = edge.world();
    assert_eq!(
        world.key.as_ref().map(|key| key.minter.router_id()),
        Some("router-1")
    );
}

#[test]
fn providers_keys_follow_their_rotation() {
    let router = Router::new();
    let edge = router.edge();
    let mut follow = router.follow(&edge);
    follow.look();
    let next = Signer::generate("k2", "ES256");
    let (old, new) = (router.token(json!({})), sign(&next, json!({})));
    assert_eq!(
        (ask(&edge, &old).as_str(), ask(&edge, &new).as_str()),
        ("cell-a", "401")
    );
    router.publish_keys(&[next.jwk()]);
    follow.look();
    assert_eq!(
        (ask(&edge, &old).as_str(), ask(&edge, &new).as_str()),
        ("401", "cell-a")
    );
}

#[test]
fn damaged_files_leave_the_last_good_in_place() {
    let router = Router::new();
    let policy = router.policy("# nothing special");
    let edge = router.edge_with(json!({ "POLICY_FILE": policy.display().to_string() }));
    let mut follow = router.follow(&edge);
    follow.look();
    let token = router.token(json!({}));
    let keys = state::provider_keys(&router.state_dir()).join("keys-auth0.json");
    for file in [
        router.registry_file("base"),
        router.registry_file("log"),
        state::signing_key(&router.state_dir()),
        keys,
        policy.clone(),
    ] {
        std::fs::write(file, "damaged").unwrap();
    }
    follow.look();
    assert_eq!(ask(&edge, &token), "cell-a");
    let deadline = Instant::now() + Duration::from_secs(30);
    // What was read of the registry is all that was published: there is nothing to complain of yet.
    let wanted = ["signing key: ", "keys of auth0: ", "policy: "];
    let mut said = String::new();
    while !wanted.iter().all(|source| said.contains(source)) {
        assert!(Instant::now() < deadline, "{said}");
        std::thread::sleep(Duration::from_millis(5));
        follow.look();
        said.push_str(&complaints(&mut follow));
    }
    assert_eq!(ask(&edge, &token), "cell-a");
    // And what is published next counts.
    router.policy("[[route]]\nprefix = \"/public\"\nclass = \"public\"\ncell = \"cell-b\"\n");
    router.publish_keys(&[router.signer.jwk()]);
    router.publish_signing_key(true);
    router.publish(3, "cell-b");
    look_until(&mut follow, || {
        let mut anonymous = FakeHost::get("/public");
        ask(&edge, &token) == "cell-b" && on_request(&edge, &mut anonymous) == Verdict::Continue
    });
}

#[test]
fn the_thread_follows_and_ends() {
    let router = Router::new();
    let edge = router.edge();
    let following = start(Arc::clone(&edge), Watch::new(None), FakeOutside::default()).unwrap();
    let token = router.token(json!({}));
    assert_eq!(ask(&edge, &token), "cell-a", "the start waits for the first look");
    router.publish(2, "cell-b");
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(&edge, &token) != "cell-b" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(following);
    while Arc::strong_count(&edge) > 1 {
        assert!(Instant::now() < deadline, "the thread goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_router_is_told_what_every_request_is_decided_by() {
    let router = Router::new();
    let edge = router.edge();
    let mut follow = router.follow(&edge);
    let applied = state::applied(&router.state_dir());
    let oldest = || {
        let oldest = registry::disk::oldest_applied(&applied).unwrap();
        oldest.map(|version| version.to_string())
    };
    assert_eq!(oldest(), None, "nothing is allowed yet");
    follow.look();
    assert_eq!(oldest().as_deref(), Some("1.1"));
    let under_way = edge.world();
    router.publish(2, "cell-b");
    follow.look();
    assert_eq!(edge.world().version(), "1.2");
    assert_eq!(
        oldest().as_deref(),
        Some("1.1"),
        "a request is decided by it still"
    );
    drop(under_way);
    follow.look();
    assert_eq!(oldest().as_deref(), Some("1.2"));
    drop(follow);
    assert_eq!(oldest(), None);
}
