//! The settings of `alphaswarm-cell`, as an operator at a prompt meets them.

use devkit::place;

use crate::run::run;

#[tokio::test]
async fn what_is_missing_is_said_at_once_and_nothing_starts() {
    let ended = run::<&str>(place::CELL, &[], &[]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""), "{ended:?}");
    let named = ["ALPHASWARM_CELL_ID", "ASSERTION_JWKS_URL", "ALPHASWARM_STATE_DIR"];
    let mut errors = ended.errors();
    for name in named {
        let before = errors.len();
        errors.retain(|line| !line.starts_with(&format!("alphaswarm-cell: {name}: ")));
        assert_eq!(errors.len() + 1, before, "{name}: {ended:?}");
    }
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test]
async fn a_good_configuration_is_checked_printed_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state").display().to_string();
    let env = [
        ("ALPHASWARM_CELL_ID", "cell-a"),
        ("ALPHASWARM_STATE_DIR", &state),
        (
            "ASSERTION_JWKS_URL",
            "https://user:secret@router.internal/jwks.json",
        ),
    ];
    let ended = run(place::CELL, &["--check"], &env).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "configuration is good\n"),
        "{ended:?}"
    );
    assert!(!folder.path().join("state").exists(), "it only looks");
    let printed = run(place::CELL, &["--print-config"], &env).await.stdout;
    assert!(
        printed.contains("CBA_MODE=enforce\n") && printed.contains("ALPHASWARM_CELL_LISTEN=127.0.0.1:8100\n")
    );
    assert!(!printed.contains("secret"), "{printed}");
    let help = run::<&str>(place::CELL, &["--help"], &[]).await.stdout;
    for line in printed.lines() {
        let (name, _) = line.split_once('=').unwrap();
        assert!(help.contains(name), "{name}: {help}");
    }
}
