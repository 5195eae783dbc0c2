//! From a checked request to the environment and secrets of a build: plugin lists for the arrangements 1 to 5, user
//! parameters and the site's configuration for 6 (`client-and-koji.md` 2.4, 2.7, 2.9).

use crate::error::ClientError;
use crate::osbs::{Osbs, ReactorConfigText};
use osbs_arrangement::{Customization, RenderInput, default_mount_point, render, template_from_dir};
use osbs_cluster::{ClusterError, NewBuild, SecretMount, TextMap};
use osbs_config::{ReactorConfig, UserParams};
use osbs_types::BuildType;
use std::path::Path;

/// Key of the configuration in a secret or ConfigMap.
const CONFIG_KEY: &str = "config.yaml";

/// A request ready for rendering.
pub(crate) struct Rendering<'a> {
    pub build_type: BuildType,
    pub arrangement_version: u32,
    pub params: &'a UserParams,
    pub is_auto: bool,
    pub autorebuild_enabled: bool,
}

impl Osbs {
    /// Puts environment and secrets into `new`.
    pub(crate) async fn render_into(&self, new: &mut NewBuild, request: &Rendering<'_>) -> Result<(), ClientError> {
        let (env, secrets) = if request.arrangement_version >= osbs_arrangement::LATEST {
            self.render_user_params(request).await?
        } else {
            self.render_plugin_lists(request).await?
        };
        self.check_secrets(&secrets).await?;
        new.env.extend(env);
        new.secrets.extend(secrets.into_iter().map(|(mount, _)| mount));
        Ok(())
    }

    async fn render_user_params(&self, request: &Rendering<'_>) -> Result<(TextMap, Wanted), ClientError> {
        let config = self.reactor_config(request.params).await?;
        let parsed = ReactorConfig::parse(&config.text, &config.origin)?.value;
        let mut names: Vec<_> = parsed.required_secrets.iter().map(|name| (name, "required_secrets")).collect();
        if request.build_type == BuildType::Orchestrator {
            names.extend(parsed.worker_token_secrets.iter().map(|name| (name, "worker_token_secrets")));
        }
        let mut secrets = Wanted::new();
        for (name, key) in names {
            mount(&mut secrets, name, &default_mount_point(name), &format!("{key} in {}", config.origin));
        }
        // The override travels in REACTOR_CONFIG already.
        let mut params = request.params.clone();
        params.reactor_config_override = None;
        let env = [("USER_PARAMS", params.to_json().to_string()), ("REACTOR_CONFIG", config.text)];
        Ok((env.map(|(name, value)| (name.to_owned(), value)).into(), secrets))
    }

    async fn render_plugin_lists(&self, request: &Rendering<'_>) -> Result<(TextMap, Wanted), ClientError> {
        let version = request.arrangement_version;
        let dir = self.general.build_json_dir.as_deref().map(Path::new);
        let template = template_from_dir(request.build_type, version, dir)?;
        let customization = self.customization(request.build_type)?;
        let config_in_environment =
            self.instance.reactor_config_secret.is_none() || request.params.reactor_config_override.is_some();
        let rendered = render(
            template,
            &RenderInput {
                build_type: request.build_type,
                arrangement_version: version,
                params: request.params,
                config: &self.instance,
                general: &self.general,
                platforms: &self.platforms(),
                is_auto: request.is_auto,
                triggers: request.autorebuild_enabled,
                config_in_environment,
                customization: customization.as_ref(),
            },
        )?;
        let mut env = TextMap::new();
        env.insert("ATOMIC_REACTOR_PLUGINS".to_owned(), rendered.lists.to_json().to_string());
        if config_in_environment {
            env.insert("REACTOR_CONFIG".to_owned(), self.reactor_config(request.params).await?.text);
        }
        let mut secrets = Wanted::new();
        for wanted in rendered.secrets {
            let instance = self.parts.settings.instance();
            mount(&mut secrets, &wanted.secret, &wanted.path, &format!("instance {instance:?} of osbs.conf"));
        }
        Ok((env, secrets))
    }

    fn customization(&self, build_type: BuildType) -> Result<Option<Customization>, ClientError> {
        let Some(dir) = &self.general.build_json_dir else { return Ok(None) };
        let path = Path::new(dir).join(Customization::file_name(build_type));
        let file = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Customization::parse(&text, &file)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ClientError::Customization { path: file, source }),
        }
    }

    /// The server-side configuration: the request's, else the ConfigMap's or secret's, else the site's file.
    pub(crate) async fn reactor_config(&self, params: &UserParams) -> Result<ReactorConfigText, ClientError> {
        if let Some(json) = &params.reactor_config_override {
            // JSON is YAML.
            return Ok(ReactorConfigText { text: json.to_string(), origin: "reactor_config_override".to_owned() });
        }
        let missing = |place: &str| ClientError::NoReactorConfig { place: place.to_owned() };
        if let Some(name) = &params.reactor_config_map {
            let place = format!("ConfigMap {name}");
            let mut data = self.parts.cluster.get_config_map(name).await?;
            let text = data.remove(CONFIG_KEY).ok_or_else(|| missing(&place))?;
            return Ok(ReactorConfigText { text, origin: place });
        }
        if let Some(name) = &self.instance.reactor_config_secret {
            let place = format!("secret {name}");
            let data = self.parts.cluster.get_secret(name).await?;
            let text = data.reveal(CONFIG_KEY).and_then(|bytes| std::str::from_utf8(bytes).ok());
            return Ok(ReactorConfigText { text: text.ok_or_else(|| missing(&place))?.to_owned(), origin: place });
        }
        Ok(self.parts.reactor_config.clone())
    }

    /// One by one: a cluster may list fewer than it has. Who may not look hears of it from the build.
    async fn check_secrets(&self, wanted: &Wanted) -> Result<(), ClientError> {
        for (mount, by) in wanted {
            match self.parts.cluster.get_secret(&mount.secret).await {
                // One that is another build's, or that we may not read, is there all the same.
                Ok(_) | Err(ClusterError::Withheld { .. } | ClusterError::Forbidden { .. }) => {}
                Err(ClusterError::NotFound { .. }) => {
                    return Err(ClientError::NoSecret { secret: mount.secret.clone(), wanted_by: by.clone() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Secrets and who wants them.
type Wanted = Vec<(SecretMount, String)>;

/// The first mount point of a secret stays.
fn mount(wanted: &mut Wanted, secret: &str, path: &str, by: &str) {
    if !wanted.iter().any(|(mount, _)| mount.secret == secret) {
        wanted.push((SecretMount { secret: secret.to_owned(), mount_path: path.to_owned() }, by.to_owned()));
    }
}
