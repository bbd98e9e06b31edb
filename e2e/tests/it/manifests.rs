//! Each manifest starts the binary with exactly the arguments, variables, ports and paths that it has.

use e2e::{SERVICES, binary};
use serde::Deserialize;
use serde_yaml_ng::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

fn render(overlay: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = root.join("deploy/k8s/overlays").join(overlay);
    let attempt =
        |program: &str, verb: &str| Command::new(program).arg(verb).arg(&folder).output().ok();
    let output = attempt("kustomize", "build")
        .or_else(|| attempt("kubectl", "kustomize"))
        .unwrap_or_else(|| {
            panic!(
                "kustomize 5 or kubectl is needed to render {}",
                folder.display()
            )
        });
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_yaml_ng::Deserializer::from_slice(&output.stdout)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    let found = path.iter().fold(value, |value, key| &value[*key]);
    found
        .as_str()
        .unwrap_or_else(|| panic!("{path:?} in {value:?}"))
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

/// The variables that the kubelet would set. Secrets and fields of the pod get a stand-in.
fn environment(objects: &[Value], container: &Value) -> BTreeMap<String, String> {
    let config_map = |name: &str| {
        of_kind(objects, "ConfigMap")
            .find(|object| text(object, &["metadata", "name"]) == name)
            .unwrap_or_else(|| panic!("no ConfigMap {name}"))
    };
    let mut variables = BTreeMap::new();
    for source in container["envFrom"].as_sequence().into_iter().flatten() {
        let data = &config_map(text(source, &["configMapRef", "name"]))["data"];
        for (key, value) in data.as_mapping().unwrap() {
            variables.insert(
                key.as_str().unwrap().to_owned(),
                value.as_str().unwrap().to_owned(),
            );
        }
    }
    for variable in container["env"].as_sequence().into_iter().flatten() {
        let name = text(variable, &["name"]).to_owned();
        let from = &variable["valueFrom"];
        let value = if let Some(value) = variable["value"].as_str() {
            value.to_owned()
        } else if let Some(reference) = from.get("configMapKeyRef") {
            let data = &config_map(text(reference, &["name"]))["data"];
            text(data, &[text(reference, &["key"])]).to_owned()
        } else if name.ends_with("__DATABASE__URL") {
            "postgres://user:password@database:5432/name".to_owned()
        } else {
            assert!(
                from.get("secretKeyRef").is_some() || from.get("fieldRef").is_some(),
                "{name}"
            );
            "stand-in".to_owned()
        };
        variables.insert(name, value);
    }
    variables
}

fn check(overlay: &str) {
    let objects = render(overlay);
    for service in SERVICES {
        let workload = of_kind(&objects, "Deployment")
            .chain(of_kind(&objects, "StatefulSet"))
            .find(|object| text(object, &["metadata", "name"]) == *service)
            .unwrap_or_else(|| panic!("{overlay} has no workload {service}"));
        let pod = &workload["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert!(
            container.get("args").is_none() && container.get("command").is_none(),
            "{service}"
        );
        let variables = environment(&objects, container);
        let output = Command::new(binary(service))
            .arg("--check-config")
            .env_clear()
            .envs(&variables)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{overlay} {service}: {}",
            String::from_utf8_lossy(&output.stderr)
        );

        // The port that the probes, the Service and the scraper use is the one that the binary listens on.
        let listen = said.rsplit(' ').next().unwrap().trim();
        let port: i64 = listen.rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(
            container["ports"][0]["containerPort"].as_i64(),
            Some(port),
            "{service}"
        );
        for (probe, path) in [
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ] {
            assert_eq!(
                text(container, &[probe, "httpGet", "path"]),
                path,
                "{service}"
            );
            assert_eq!(
                text(container, &[probe, "httpGet", "port"]),
                text(&container["ports"][0], &["name"])
            );
        }

        // Draining ends before the kubelet kills.
        let prefix = service.to_uppercase().replace('-', "_");
        let grace_ms: u64 = variables[&format!("{prefix}__SHUTDOWN__GRACE_MS")]
            .parse()
            .unwrap();
        let kill_after = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace_ms / 1000 < kill_after, "{service}");

        // A static member needs a name that outlives the pod.
        let is_static = variables
            .get(&format!("{prefix}__KAFKA__MEMBERSHIP"))
            .is_some_and(|value| value == "static");
        assert!(!is_static || workload["kind"] == "StatefulSet", "{service}");

        // The Service finds the pods, and the pods' disruption budget too.
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        for (kind, path) in [
            ("Service", &["spec", "selector"] as &[&str]),
            ("PodDisruptionBudget", &["spec", "selector", "matchLabels"]),
        ] {
            let object = of_kind(&objects, kind)
                .find(|object| text(object, &["metadata", "name"]) == *service)
                .unwrap_or_else(|| panic!("{service} has no {kind}"));
            let selector = path
                .iter()
                .fold(object, |value, key| &value[*key])
                .as_mapping()
                .unwrap();
            for (key, value) in selector {
                assert_eq!(labels.get(key), Some(value), "{service} {kind}");
            }
        }

        // Every volume that is mounted is there, and each path that the configuration names is mounted.
        for (name, value) in variables.iter().filter(|(name, _)| name.ends_with("_FILE")) {
            let mounted = container["volumeMounts"]
                .as_sequence()
                .into_iter()
                .flatten()
                .any(|mount| value.starts_with(text(mount, &["mountPath"])));
            assert!(mounted, "{service}: {name} = {value}");
        }
    }
}

#[test]
fn the_dev_overlay_starts_every_binary_as_it_is() {
    check("dev");
}

#[test]
fn the_production_overlay_starts_every_binary_as_it_is() {
    check("production");
}

#[test]
fn the_tools_take_the_arguments_that_the_dev_overlay_gives_them() {
    let objects = render("dev");
    for tool in ["topics", "fleet-sim"] {
        let container = of_kind(&objects, "Job")
            .chain(of_kind(&objects, "Deployment"))
            .find(|object| text(object, &["metadata", "name"]) == tool)
            .map(|object| &object["spec"]["template"]["spec"]["containers"][0])
            .unwrap();
        let mut arguments: Vec<&str> = container["args"]
            .as_sequence()
            .unwrap()
            .iter()
            .map(|argument| argument.as_str().unwrap())
            .collect();
        // clap reads every argument before it obeys the last one.
        arguments.push("--help");
        let output = Command::new(binary(tool))
            .args(&arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{tool} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
