//! The Python example as ASGI middleware, which no server of the other tests speaks.

use devkit::place;
use devkit::skip::skip;

#[tokio::test]
async fn the_asgi_middleware_refuses_as_the_others_do() {
    let repository = place::repository().unwrap();
    if !repository.join("target/python/installed").is_file() {
        let test = "the_asgi_middleware_refuses_as_the_others_do";
        return skip(test, "no Python with PyJWT here (make tools)");
    }
    let ran = tokio::process::Command::new(repository.join("target/python/bin/python"))
        .arg(repository.join("e2e/python/asgi.py"))
        .kill_on_drop(true)
        .output();
    let ran = tokio::time::timeout(std::time::Duration::from_secs(60), ran)
        .await
        .unwrap()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "14 refusals\n");
}
