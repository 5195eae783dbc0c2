//! A build in the shape OpenShift gives it: what the reactor finds in the variable `BUILD` and `get-build` shows.

use crate::Build;
use serde_json::{Map, Value, json};

/// Holds the site's whole configuration; in OpenShift it is a reference to a ConfigMap and not part of the object.
const NOT_SHOWN: &str = "REACTOR_CONFIG";

impl Build {
    /// Path part of the object's URL.
    pub fn self_link(&self) -> String {
        format!("/oapi/v1/namespaces/{}/builds/{}", self.namespace, self.name)
    }

    /// The Build object.
    pub fn to_build_object(&self) -> Value {
        json!({
            "kind": "Build",
            "apiVersion": "v1",
            "metadata": self.metadata(),
            "spec": self.spec(),
            "status": self.status(),
        })
    }

    fn metadata(&self) -> Value {
        let mut labels = self.labels.clone();
        let mut annotations = self.annotations.clone();
        if let Some(config) = &self.build_config {
            for key in ["buildconfig", "openshift.io/build-config.name"] {
                labels.insert(key.to_owned(), config.clone());
            }
            annotations.insert("openshift.io/build-config.name".to_owned(), config.clone());
        }
        if let Some(number) = self.number {
            annotations.insert("openshift.io/build.number".to_owned(), number.to_string());
        }
        json!({
            "name": self.name,
            "namespace": self.namespace,
            "selfLink": self.self_link(),
            "creationTimestamp": self.created,
            "labels": labels,
            "annotations": annotations,
        })
    }

    fn spec(&self) -> Value {
        let env: Vec<_> = self
            .env
            .iter()
            .filter(|(name, _)| name.as_str() != NOT_SHOWN)
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let secrets: Vec<_> = self
            .secrets
            .iter()
            .map(|mount| json!({"secretSource": {"name": mount.secret}, "mountPath": mount.mount_path}))
            .collect();
        let mut custom = Map::new();
        if let Some(image) = &self.build_image {
            custom.insert("from".into(), json!({"kind": "DockerImage", "name": image}));
        }
        custom.insert("env".into(), env.into());
        custom.insert("secrets".into(), secrets.into());
        let mut spec = json!({
            "serviceAccount": "builder",
            "source": {"type": "Git", "git": {"uri": self.source.uri, "ref": self.source.git_ref}},
            "strategy": {"type": "Custom", "customStrategy": custom},
            "output": {"to": {"kind": "DockerImage", "name": self.output_image}},
            "resources": {"limits": self.limits},
            "triggeredBy": self.triggered_by.clone().unwrap_or_else(|| json!([])),
        });
        if !self.node_selector.is_empty() {
            spec["nodeSelector"] = json!(self.node_selector);
        }
        spec
    }

    fn status(&self) -> Value {
        let mut status = Map::new();
        status.insert("phase".into(), self.state.as_str().into());
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                status.insert(key.to_owned(), value);
            }
        };
        put("message", self.reason.as_deref().map(Value::from));
        put("cancelled", self.cancel_requested.then_some(Value::Bool(true)));
        put("startTimestamp", self.started.map(|time| json!(time)));
        put("completionTimestamp", self.finished.map(|time| json!(time)));
        put("outputDockerImageReference", Some(self.output_image.as_str().into()));
        put(
            "config",
            self.build_config
                .as_ref()
                .map(|name| json!({"kind": "BuildConfig", "namespace": self.namespace, "name": name})),
        );
        Value::Object(status)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Build, GitSource, NameRule, NewBuild};
    use osbs_types::BuildType;

    #[test]
    fn openshift_shape() {
        let mut new = NewBuild::new(
            NameRule::Config { build_config: "web-f40-9ab12".into() },
            BuildType::Orchestrator,
            GitSource { uri: "https://git.example.com/web.git".into(), git_ref: "4f2c1d0".into() },
            "alice/web:1",
        );
        new.env.insert("REACTOR_CONFIG".into(), "password: x".into());
        new.env.insert("USER_PARAMS".into(), "{}".into());
        new.build_image = Some("buildroot:latest".into());
        let created = "2024-01-02T03:04:05Z".parse().expect("valid");
        let build = Build::from_new("osbs", "web-f40-9ab12-7".parse().expect("valid"), Some(7), new, created);
        let object = build.to_build_object();
        assert_eq!(object["metadata"]["selfLink"], "/oapi/v1/namespaces/osbs/builds/web-f40-9ab12-7");
        assert_eq!(object["metadata"]["labels"]["buildconfig"], "web-f40-9ab12");
        assert_eq!(object["spec"]["strategy"]["customStrategy"]["from"]["name"], "buildroot:latest");
        assert_eq!(object["spec"]["strategy"]["customStrategy"]["env"][0]["name"], "USER_PARAMS");
        assert_eq!(object["spec"]["triggeredBy"], serde_json::json!([]));
        assert_eq!(object["status"]["phase"], "New");
        assert!(!object.to_string().contains("password"), "the configuration is not part of the object");
    }
}
