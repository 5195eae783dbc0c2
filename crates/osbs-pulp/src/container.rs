//! Container repositories: made, synchronised from a registry, tagged, published.

use crate::PulpError;
use crate::client::Pulp;
use crate::request::{Kind, RemoteBody, distribution_body, remote_body, sync_body, tag_body};
use crate::response::{DistributionAnswer, Href, ManifestAnswer, Object, RepositoryAnswer, TagAnswer};
use crate::task::Wait;
use osbs_http::Method;
use osbs_types::{Digest, Secret};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tags asked for at once, so that a URL does not grow without end.
const TAGS_AT_ONCE: usize = 20;

/// Where Pulp fetches images from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Its name in Pulp.
    pub name: String,
    /// The registry, with scheme.
    pub url: String,
    /// `namespace/repo` there.
    pub upstream_name: String,
    /// The tags to fetch, no others.
    pub include_tags: Vec<String>,
    /// Whether Pulp verifies the registry's certificate.
    pub tls_validation: bool,
    /// Certificates (PEM) by which Pulp verifies it.
    pub ca_cert: Option<String>,
    /// Pulp's login there.
    pub login: Option<(String, Secret)>,
}

/// A repository of Pulp's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name.
    pub name: String,
    /// Its reference.
    pub href: Href,
    /// Its newest version.
    pub latest_version: Href,
}

/// What clients see of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    /// Its reference.
    pub href: Href,
    /// The repository version (containers) or publication (files) it shows.
    pub shows: Option<Href>,
    /// Where clients find it: `HOST/base_path` for containers, a URL for files.
    pub address: Option<String>,
}

impl Pulp {
    /// The container repository of that name; made if it is not there.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn repository(&self, name: &str) -> Result<Repository, PulpError> {
        self.repository_of(Kind::ContainerRepositories, name).await
    }

    pub(crate) async fn repository_of(&self, kind: Kind, name: &str) -> Result<Repository, PulpError> {
        let action = format!("find or make the repository {name}");
        let filters = [("name", name)];
        let find = || self.list::<RepositoryAnswer>(&action, kind, &filters);
        let mut found = find().await?.into_iter().next();
        if found.is_none() {
            let made = self.send(&action, Method::POST, self.kind_url(kind), &json!({"name": name})).await;
            found = match made {
                Ok(made) => Some(made),
                // Another build was faster, or the answer to our first attempt was lost.
                Err(error) if error.status() == Some(400) => Some(find().await?.into_iter().next().ok_or(error)?),
                Err(error) => return Err(error),
            };
        }
        let found = found.ok_or_else(|| self.protocol(&action, "a repository that is not there".to_owned()))?;
        Ok(Repository { name: name.to_owned(), href: found.pulp_href, latest_version: found.latest_version_href })
    }

    /// Makes the remote, or brings the one of that name up to date.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn put_remote(&self, remote: &Remote, wait: &Wait<'_>) -> Result<Href, PulpError> {
        let action = format!("set up the remote {} for {}", remote.name, remote.upstream_name);
        let body = remote_body(&RemoteBody {
            name: &remote.name,
            url: &remote.url,
            upstream_name: &remote.upstream_name,
            include_tags: &remote.include_tags,
            tls_validation: remote.tls_validation,
            ca_cert: remote.ca_cert.as_deref(),
            login: remote.login.as_ref().map(|(username, password)| (username.as_str(), password)),
        });
        let kind = Kind::ContainerRemotes;
        let filters = [("name", remote.name.as_str())];
        let find = || self.list::<Object>(&action, kind, &filters);
        let mut found = find().await?.into_iter().next();
        if found.is_none() {
            match self.send::<Object>(&action, Method::POST, self.kind_url(kind), &body).await {
                Ok(made) => return Ok(made.pulp_href),
                Err(error) if error.status() == Some(400) => {
                    found = Some(find().await?.into_iter().next().ok_or(error)?);
                }
                Err(error) => return Err(error),
            }
        }
        let href = found.map(|found| found.pulp_href);
        let href = href.ok_or_else(|| self.protocol(&action, "a remote that is not there".to_owned()))?;
        let url = self.object_url(&action, &href, "")?;
        self.change(&action, url, &body, wait).await?;
        Ok(href)
    }

    /// PATCH, which Pulp does at once (200) or by a task (202), depending on its version and on what is changed.
    async fn change(&self, action: &str, url: url::Url, body: &Value, wait: &Wait<'_>) -> Result<(), PulpError> {
        let answer: Value = self.send(action, Method::PATCH, url, body).await?;
        if let Some(task) = answer.get("task") {
            let task: Href = serde_json::from_value(task.clone())
                .map_err(|error| self.protocol(action, format!("not the JSON expected: {error}")))?;
            self.wait_for(action, &task, wait).await?;
        }
        Ok(())
    }

    /// Fetches what the remote names into the repository. Gives the repository version that holds it: a new one, or the
    /// newest if nothing was new.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn sync(&self, repository: &Repository, remote: &Href, wait: &Wait<'_>) -> Result<Href, PulpError> {
        let action = format!("synchronise the repository {}", repository.name);
        let url = self.object_url(&action, &repository.href, "sync/")?;
        self.new_version(&action, repository, url, &sync_body(remote), wait).await
    }

    /// Sends what changes a repository, and waits. Gives the version made, or the newest if nothing was new.
    pub(crate) async fn new_version(
        &self,
        action: &str,
        repository: &Repository,
        url: url::Url,
        body: &Value,
        wait: &Wait<'_>,
    ) -> Result<Href, PulpError> {
        let task = self.run_task(action, Method::POST, url, body, wait).await?;
        let made = task.created("/versions/");
        match made.filter(|made| made.repository().as_ref() == Some(&repository.href)) {
            Some(version) => Ok(version),
            None => Ok(self.object::<RepositoryAnswer>(action, &repository.href).await?.latest_version_href),
        }
    }

    /// What these tags name in a repository version; those that are not there are left out.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn tags(&self, version: &Href, names: &[String]) -> Result<BTreeMap<String, Digest>, PulpError> {
        let action = "read the tags of a repository version".to_owned();
        let mut found = BTreeMap::new();
        let mut digests: BTreeMap<Href, Digest> = BTreeMap::new();
        for names in names.chunks(TAGS_AT_ONCE) {
            let filters = [("repository_version", version.as_str()), ("name__in", &names.join(","))];
            for tag in self.list::<TagAnswer>(&action, Kind::ContainerTags, &filters).await? {
                let digest = match digests.get(&tag.tagged_manifest) {
                    Some(digest) => digest.clone(),
                    None => self.object::<ManifestAnswer>(&action, &tag.tagged_manifest).await?.digest,
                };
                digests.insert(tag.tagged_manifest, digest.clone());
                found.insert(tag.name, digest);
            }
        }
        Ok(found)
    }

    /// Gives a manifest of the repository a name; a name that is taken moves.
    ///
    /// # Errors
    /// Refused (400: no such manifest in its newest version), no answer, or the task did not complete.
    pub async fn tag(
        &self,
        repository: &Repository,
        tag: &str,
        digest: &Digest,
        wait: &Wait<'_>,
    ) -> Result<Href, PulpError> {
        self.change_tag(repository, "tag/", tag, Some(digest), wait).await
    }

    /// Takes a name away; the manifest stays in the repository.
    ///
    /// # Errors
    /// Refused (400: no such tag in its newest version), no answer, or the task did not complete.
    pub async fn untag(&self, repository: &Repository, tag: &str, wait: &Wait<'_>) -> Result<Href, PulpError> {
        self.change_tag(repository, "untag/", tag, None, wait).await
    }

    async fn change_tag(
        &self,
        repository: &Repository,
        verb: &str,
        tag: &str,
        digest: Option<&Digest>,
        wait: &Wait<'_>,
    ) -> Result<Href, PulpError> {
        let action = format!("{} {}:{tag}", verb.trim_end_matches('/'), repository.name);
        let url = self.object_url(&action, &repository.href, verb)?;
        self.new_version(&action, repository, url, &tag_body(tag, digest), wait).await
    }

    /// Removes a repository version; what later ones have of it stays in them.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn delete_version(&self, version: &Href, wait: &Wait<'_>) -> Result<(), PulpError> {
        let action = "remove a repository version that was not published";
        let url = self.object_url(action, version, "")?;
        self.run_task(action, Method::DELETE, url, &json!({}), wait).await.map(drop)
    }

    /// What clients see under a path now; `None` where there is nothing.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn distribution(&self, base_path: &str) -> Result<Option<Distribution>, PulpError> {
        self.distribution_of(Kind::ContainerDistributions, base_path).await
    }

    pub(crate) async fn distribution_of(&self, kind: Kind, base_path: &str) -> Result<Option<Distribution>, PulpError> {
        let action = format!("look for the distribution of {base_path}");
        let found = self.list::<DistributionAnswer>(&action, kind, &[("base_path", base_path)]).await?;
        let found = found.into_iter().find(|found| found.base_path == base_path);
        Ok(found.map(|found| Distribution {
            href: found.pulp_href,
            shows: found.repository_version.or(found.publication),
            address: found.registry_path.or(found.base_url),
        }))
    }

    /// Takes a distribution away: clients find nothing there any more. One that is gone is no error.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn remove_distribution(&self, distribution: &Distribution, wait: &Wait<'_>) -> Result<(), PulpError> {
        let action = "remove a distribution";
        let url = self.object_url(action, &distribution.href, "")?;
        match self.run_task(action, Method::DELETE, url, &json!({}), wait).await {
            Err(error) if error.status() == Some(404) => Ok(()),
            removed => removed.map(drop),
        }
    }

    /// Shows clients this repository version under a path. A distribution that is there is moved, whatever its name; only
    /// then clients see something else.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn publish(
        &self,
        name: &str,
        base_path: &str,
        version: &Href,
        wait: &Wait<'_>,
    ) -> Result<Distribution, PulpError> {
        self.distribute(Kind::ContainerDistributions, (name, base_path), ("repository_version", version), wait).await
    }

    pub(crate) async fn distribute(
        &self,
        kind: Kind,
        (name, base_path): (&str, &str),
        (what, href): (&str, &Href),
        wait: &Wait<'_>,
    ) -> Result<Distribution, PulpError> {
        let action = format!("publish {base_path}");
        if let Some(there) = self.distribution_of(kind, base_path).await? {
            let url = self.object_url(&action, &there.href, "")?;
            self.change(&action, url, &distribution_body(None, base_path, what, href), wait).await?;
        } else {
            let body = distribution_body(Some(name), base_path, what, href);
            self.run_task(&action, Method::POST, self.kind_url(kind), &body, wait).await?;
        }
        let there = self.distribution_of(kind, base_path).await?;
        let there = there.ok_or_else(|| self.protocol(&action, "the distribution is not there".to_owned()))?;
        let shows = there.shows.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        // Another build may have moved it on since; that one holds ours too.
        let newer = there.shows.as_ref().and_then(Href::version_number) > href.version_number();
        if there.shows.as_ref() == Some(href) || newer {
            return Ok(there);
        }
        let what = format!("what the distribution of {base_path} shows");
        Err(PulpError::Mismatch { server: self.host(), what, expected: href.to_string(), found: shows })
    }
}
