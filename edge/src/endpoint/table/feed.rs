//! What routers follow.

use axum::routing::{delete, get, post};

use super::super::{Endpoint, endpoint};
use crate::caller::Need;
use crate::feed;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint(
            "get",
            "/manage/registry/changes",
            "what is newer than a version, as soon as there is something",
            Need::Follow,
            &[
                ("after", "string", "the version that is known, such as 1.42"),
                ("lineage", "integer?", "its mark, from the answer it came with"),
                (
                    "wait",
                    "integer?",
                    "seconds to wait for news, up to 30; 5 when absent",
                ),
            ],
            get(feed::changes),
        ),
        endpoint(
            "get",
            "/manage/registry/snapshot",
            "the whole registry as routers keep it, with an ETag",
            Need::Follow,
            &[(
                "at_least",
                "string?",
                "a version; no older one is given while there is a newer one",
            )],
            get(feed::snapshot),
        ),
        endpoint(
            "post",
            "/manage/registry/heartbeats",
            "a router's sign of life; answers with the others'",
            Need::Beat,
            &[
                ("router", "string", "its id"),
                ("version", "string", "the version it decides by"),
                ("keys", "array", "public keys of its assertions"),
                ("xds", "string?", "the oldest version among its Envoys"),
            ],
            post(feed::beat),
        ),
        endpoint(
            "delete",
            "/manage/registry/heartbeats/{router}",
            "a router stops: nobody waits for it",
            Need::Beat,
            &[],
            delete(feed::forget),
        ),
    ]
}
