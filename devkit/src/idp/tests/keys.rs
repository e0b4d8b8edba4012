//! Keys that change, and keys that stay.

use super::*;

#[tokio::test]
async fn rotation_publishes_a_fresh_key_and_an_emergency_withdraws_the_old_one() {
    let world = World::start().await;
    let provider = DevProvider::Auth0;
    let before = world.client.good("globex").await.unwrap().token;

    let rotated = world.client.rotate(provider, false).await.unwrap();
    assert_eq!(part(&before, 0)["kid"], rotated.previous.as_str());
    assert!(rotated.published.contains(&rotated.previous) && rotated.published.len() == 3);
    let after = world.client.good("globex").await.unwrap().token;
    assert_eq!(part(&after, 0)["kid"], rotated.current.as_str());
    assert!(world.verified(provider, &before).await.is_some());
    assert!(world.verified(provider, &after).await.is_some());

    let emergency = world.client.rotate(provider, true).await.unwrap();
    assert_eq!(emergency.previous, rotated.current);
    assert!(!emergency.published.contains(&rotated.current));
    assert_eq!(world.verified(provider, &after).await, None);
    assert!(world.verified(provider, &before).await.is_some());

    // What a thief of the withdrawn key still can do.
    let stolen = request("globex", |r| {
        drop(r.header.insert("kid".into(), rotated.current.clone().into()))
    });
    let token = world.client.mint(&stolen).await.unwrap().token;
    assert_eq!(part(&token, 0)["kid"], rotated.current.as_str());
    assert_eq!(world.verified(provider, &token).await, None);

    for _ in 0..5 {
        world.client.rotate(provider, false).await.unwrap();
    }
    assert_eq!(
        world.keys(provider).await.keys.len(),
        4,
        "published keys are bounded"
    );
}

#[tokio::test]
async fn keys_outlive_a_restart_when_there_is_a_state_directory() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("idp");
    let first = World::with_state(Some(state.clone())).await;
    first.client.rotate(DevProvider::Entra, false).await.unwrap();
    let token = first.client.good("acme").await.unwrap().token;
    first.server.stop().await;

    let second = World::with_state(Some(state.clone())).await;
    assert!(second.verified(DevProvider::Entra, &token).await.is_some());
    assert_eq!(second.keys(DevProvider::Entra).await.keys.len(), 4);

    let file = store::path(&state);
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    std::fs::write(&file, "{\"entra\":1}").unwrap();
    let error = Issuer::open("http://x", file.parent()).err().unwrap();
    assert!(format!("{error:#}").contains("remove it"), "{error:#}");
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let error = start(Args {
        listen,
        state_dir: None,
    })
    .await
    .err()
    .unwrap();
    assert!(error.to_string().contains("loopback"), "{error}");
}
