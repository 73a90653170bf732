//! The description of the API, held against the API.

use std::collections::BTreeSet;

use super::*;

const ROUTES: [&str; 23] = [
    "DELETE /v1/namespaces/{namespace}",
    "DELETE /v1/namespaces/{namespace}/pipelines/{name}",
    "DELETE /v1/namespaces/{namespace}/secrets/{secret}",
    "GET /v1/audit",
    "GET /v1/events",
    "GET /v1/namespaces",
    "GET /v1/namespaces/{namespace}/pipelines/{name}",
    "GET /v1/namespaces/{namespace}/pipelines/{name}/revisions",
    "GET /v1/namespaces/{namespace}/pipelines/{name}/revisions/{revision}",
    "GET /v1/namespaces/{namespace}/pipelines/{name}/status",
    "GET /v1/namespaces/{namespace}/secrets",
    "GET /v1/namespaces/{namespace}/secrets/{secret}",
    "GET /v1/node",
    "GET /v1/nodes",
    "GET /v1/openapi.json",
    "GET /v1/pipelines",
    "POST /v1/namespaces",
    "POST /v1/namespaces/{namespace}/pipelines/{name}/pause",
    "POST /v1/namespaces/{namespace}/pipelines/{name}/restart",
    "POST /v1/namespaces/{namespace}/pipelines/{name}/resume",
    "POST /v1/namespaces/{namespace}/pipelines/{name}/rollback",
    "PUT /v1/namespaces/{namespace}/pipelines/{name}",
    "PUT /v1/namespaces/{namespace}/secrets/{secret}",
];

/// Those whose names in the code are others.
const PARAMETERS: [(&str, &str, &str); 6] = [
    ("PUT /v1/namespaces/{namespace}/pipelines/{name}", "dry-run", "query"),
    ("PUT /v1/namespaces/{namespace}/pipelines/{name}", "If-Match", "header"),
    ("PUT /v1/namespaces/{namespace}/pipelines/{name}", "If-None-Match", "header"),
    ("DELETE /v1/namespaces/{namespace}/pipelines/{name}", "keep-dead-letters", "query"),
    ("GET /v1/events", "Last-Event-ID", "header"),
    ("GET /v1/audit", "before", "query"),
];

fn operations(description: &Value) -> Vec<(String, &Value)> {
    let paths = description["paths"].as_object().expect("paths");
    let mut operations = vec![];
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("methods") {
            operations.push((format!("{} {path}", method.to_uppercase()), operation));
        }
    }
    operations
}

/// The references of a text of JSON to parts of it.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| match (name.as_str(), value) {
            ("$ref", Value::String(reference)) => drop(found.insert(reference.clone())),
            (_, value) => references(value, found),
        }),
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_has_each_route_with_what_it_takes_and_answers() {
    let scene = Scene::open().await;
    let got = scene.admin("GET /v1/openapi.json", "").await;
    let description = got.is(200);
    assert_eq!(description["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    let operations = operations(description);
    let routes: BTreeSet<&str> = operations.iter().map(|(route, _)| route.as_str()).collect();
    assert_eq!(routes, ROUTES.into());

    let mut ids = BTreeSet::new();
    for (route, operation) in &operations {
        assert!(ids.insert(operation["operationId"].as_str().expect("an id")), "{route}");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{route}");
        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{route}");
        let problem = &responses["default"]["content"][PROBLEM_JSON]["schema"]["$ref"];
        assert_eq!(problem, "#/components/schemas/ProblemBody", "{route}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        // There is no null in a path, a query or a header.
        assert!(
            parameters.iter().all(|parameter| parameter["schema"]["type"].is_string()),
            "{route}: {parameters:?}"
        );
        let described = |name: &str, place: &str| {
            parameters.iter().any(|parameter| parameter["name"] == name && parameter["in"] == place)
        };
        let named = route.split('{').skip(1).filter_map(|part| part.split_once('}'));
        for (name, _) in named {
            assert!(described(name, "path"), "{route}: {name}");
        }
        let is_write = !route.starts_with("GET ");
        assert_eq!(described("Idempotency-Key", "header"), is_write, "{route}");
        for (of, name, place) in PARAMETERS {
            assert!(of != route || described(name, place), "{route}: {name}");
        }
        // There it is, with any names at all.
        let path = ["{namespace}", "{name}", "{secret}"]
            .iter()
            .fold(route.clone(), |path, name| path.replace(name, "none"));
        let response = scene.send(scene.request(&path.replace("{revision}", "1"), ADMIN, &[], "")).await;
        assert!(!matches!(response.status().as_u16(), 405 | 500..), "{route}: {}", response.status());
        if response.status() == StatusCode::NOT_FOUND {
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert!(String::from_utf8_lossy(&body).contains(":unknown"), "{route}: {body:?}");
        }
    }
    let mut found = BTreeSet::new();
    references(description, &mut found);
    for reference in &found {
        let at = reference.strip_prefix('#').and_then(|pointer| description.pointer(pointer));
        assert!(at.is_some(), "{reference} leads nowhere");
    }
    assert!(found.len() > 10);
    let schemas = &description["components"]["schemas"];
    assert_eq!(schemas["Time"]["format"], "date-time");
    assert_eq!(description["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    scene.close().await;
}
