//! The OpenAPI document, made from the table.

use serde_json::{Map, Value, json};

use super::{Endpoint, endpoints};
use crate::caller::Need;

/// The OpenAPI document (3.1).
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for Endpoint {
        method,
        path,
        about,
        need,
        takes,
        ..
    } in endpoints()
    {
        let mut operation = Map::new();
        operation.insert("summary".to_owned(), about.into());
        let responses = json!({
            "200": { "description": "done; data is in the envelope" },
            "default": { "description": "refused; error is in the envelope" },
        });
        operation.insert("responses".to_owned(), responses);
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        // Where the body is a file, what is taken besides stands in the query.
        let file = file_types(method, path);
        if let Some(types) = file {
            operation.insert("requestBody".to_owned(), files(types));
        }
        if method == "get" || file.is_some() {
            parameters.extend(takes.iter().map(|(name, kind, about)| {
                json!({"name": name, "in": "query", "required": !kind.ends_with('?'), "description": about,
                    "schema": {"type": kind.trim_end_matches('?')}})
            }));
        } else if !takes.is_empty() {
            operation.insert("requestBody".to_owned(), body(takes));
        }
        operation.insert("parameters".to_owned(), parameters.into());
        if need != Need::Nothing {
            operation.insert("security".to_owned(), json!([{ "token": [] }]));
            operation.insert("description".to_owned(), demand(need).into());
        }
        if let Value::Object(entry) = paths.entry(path).or_insert_with(|| json!({})) {
            entry.insert(method.to_owned(), operation.into());
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "AlphaSwarm control plane",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every answer is {status, data, error}. Writes take If-Match with an ETag of this interface, and Idempotency-Key; \
                repeating one that is done changes nothing.",
        },
        "paths": paths,
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } } },
    })
}

/// How a file of records may be written, where the body is one: as lines or as rows.
fn file_types(method: &str, path: &str) -> Option<&'static [&'static str]> {
    match (method, path) {
        ("post", "/manage/registry/import") => Some(&["application/x-ndjson", "text/csv"]),
        ("put", "/manage/registry/staged") => Some(&["application/x-ndjson"]),
        _ => None,
    }
}

fn files(types: &[&str]) -> Value {
    let text = json!({"schema": {"type": "string"}});
    let content: Map<String, Value> = types
        .iter()
        .map(|name| ((*name).to_owned(), text.clone()))
        .collect();
    json!({"required": true, "content": content})
}

fn body(takes: super::fields::Fields) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<Value> = Vec::new();
    for (name, kind, about) in takes {
        if !kind.ends_with('?') {
            required.push((*name).into());
        }
        let schema = json!({"type": kind.trim_end_matches('?'), "description": about});
        properties.insert((*name).to_owned(), schema);
    }
    json!({"required": true, "content": {"application/json": {"schema": {
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    }}}})
}

const fn demand(need: Need) -> &'static str {
    match need {
        Need::Nothing => "",
        Need::Read => "Needs cluster:read.",
        Need::Write => "Needs cluster:admin.",
        Need::Destroy => "Needs cluster:admin and a strong sign-in of the last 15 minutes.",
        Need::Follow => "Needs registry:read, cluster:read, or a client certificate.",
        Need::Beat => "Needs registry:read, or a client certificate.",
    }
}
