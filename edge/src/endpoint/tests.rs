use std::collections::BTreeSet;

use super::*;

#[test]
fn every_endpoint_is_documented_once_and_says_what_it_needs() {
    let document = document();
    let mut seen = BTreeSet::new();
    for Endpoint {
        method, path, need, ..
    } in endpoints()
    {
        assert!(seen.insert((method, path)), "{method} {path} twice");
        let operation = &document["paths"][path][method];
        assert!(operation["summary"].is_string(), "{method} {path}");
        assert_eq!(
            operation.get("security").is_some(),
            need != Need::Nothing,
            "{method} {path}"
        );
        // What changes something is never open to readers. A plan takes its cells as a body, and changes nothing.
        let changes = method != "get" && path != "/manage/placement/plan";
        assert_eq!(
            changes,
            matches!(need, Need::Write | Need::Destroy | Need::Beat),
            "{method} {path}"
        );
    }
    assert!(seen.len() > 30);
}

#[test]
fn path_parameters_are_documented() {
    let document = document();
    let promote = &document["paths"]["/manage/links/{provider}/{kind}/{id}/promote"]["post"];
    let names: Vec<&str> = promote["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["provider", "kind", "id"]);
}
