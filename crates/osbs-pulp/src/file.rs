//! Files: uploaded in pieces, kept in file repositories, published. Image archives travel like this.

use crate::PulpError;
use crate::client::Pulp;
use crate::container::{Distribution, Repository};
use crate::request::{Kind, chunk_form, content_range};
use crate::response::{FileAnswer, Href, Object, one_line};
use crate::task::Wait;
use osbs_http::{HeaderValue, Method, Request, header};
use osbs_types::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of one piece (`reactor.md` 1.10).
const PIECE: u64 = 10_485_760;

/// A file on its way: Pulp has a place for it, and nothing of it yet.
#[derive(Debug)]
pub struct Upload {
    /// The place. Whoever keeps it can remove what a killed upload has left there.
    pub href: Href,
    /// The file's name in a repository.
    pub relative_path: String,
    path: PathBuf,
    file: Arc<File>,
    size: u64,
}

/// A file that Pulp keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its reference.
    pub href: Href,
    /// Its name in a repository.
    pub relative_path: String,
    /// Its bytes, which another name can be given to.
    pub artifact: Option<Href>,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Pulp {
    /// The file repository of that name; made if it is not there.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn file_repository(&self, name: &str) -> Result<Repository, PulpError> {
        self.repository_of(Kind::FileRepositories, name).await
    }

    /// Makes a place for a file.
    ///
    /// # Errors
    /// The file cannot be read; refused or no answer.
    pub async fn begin_upload(&self, path: &Path, relative_path: &str) -> Result<Upload, PulpError> {
        let unreadable = |source| PulpError::File { path: path.to_owned(), source };
        let file = Arc::new(File::open(path).map_err(unreadable)?);
        let size = file.metadata().map_err(unreadable)?.len();
        let body = json!({"size": size});
        let place: Object =
            self.send(&of_upload(relative_path), Method::POST, self.kind_url(Kind::Uploads), &body).await?;
        let (path, relative_path) = (path.to_owned(), relative_path.to_owned());
        Ok(Upload { href: place.pulp_href, relative_path, path, file, size })
    }

    /// Uploads a file, which is in no repository then. What Pulp has got is compared with what was read. `progress` is
    /// told the bytes sent, and of how many.
    ///
    /// # Errors
    /// The file cannot be read; refused, no answer, or the task did not complete.
    pub async fn upload(
        &self,
        upload: &Upload,
        wait: &Wait<'_>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<StoredFile, PulpError> {
        let relative_path = upload.relative_path.as_str();
        let action = of_upload(relative_path);
        let digest = match self.send_pieces(&action, upload, wait, progress).await {
            Ok(digest) => digest,
            Err(error) => return Err(self.dropped(&upload.href, error).await),
        };
        let body = json!({"upload": upload.href, "relative_path": relative_path});
        let task = self.run_task(&action, Method::POST, self.kind_url(Kind::Files), &body, wait).await?;
        let stored = self.stored_file(&action, task.created("/content/"), relative_path, &digest).await?;
        if stored.digest == digest {
            return Ok(stored);
        }
        let (expected, found) = (digest.to_string(), stored.digest.to_string());
        Err(PulpError::Mismatch { server: self.host(), what: format!("the upload {relative_path}"), expected, found })
    }

    async fn send_pieces(
        &self,
        action: &str,
        upload: &Upload,
        wait: &Wait<'_>,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Digest, PulpError> {
        let size = upload.size;
        let url = self.object_url(action, &upload.href, "")?;
        let mut sum = Sha256::new();
        let mut offset = 0;
        while offset < size {
            if wait.cancel.is_cancelled() {
                return Err(PulpError::Cancelled);
            }
            let length = PIECE.min(size - offset);
            let from = Arc::clone(&upload.file);
            let piece = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length as usize];
                from.read_exact_at(&mut piece, offset).map(|()| piece)
            });
            let piece = piece.await.map_err(std::io::Error::other).and_then(|read| read);
            let piece = piece.map_err(|source| PulpError::File { path: upload.path.clone(), source })?;
            sum.update(&piece);
            let boundary = boundary(&piece);
            let header = |text: String| HeaderValue::from_str(&text).map_err(|error| error.to_string());
            let kind = header(format!("multipart/form-data; boundary={boundary}"));
            let range = header(content_range(offset, length, size));
            let (Ok(kind), Ok(range)) = (kind, range) else {
                return Err(self.protocol(action, "a piece that cannot be described".to_owned()));
            };
            let request = Request::new(Method::PUT, url.clone())
                .header(header::CONTENT_TYPE, kind)
                .header(header::CONTENT_RANGE, range)
                .bytes(chunk_form(&boundary, &piece));
            self.answer::<Object>(action, request).await?;
            offset += length;
            progress(offset, size);
        }
        Ok(Digest::from_sha256(&sum.finalize().into()))
    }

    /// The error, after what was uploaded of the file has been removed.
    async fn dropped(&self, upload: &Href, error: PulpError) -> PulpError {
        if let Ok(url) = self.object_url("remove an upload", upload, "") {
            let _ = self.response("remove an upload", Request::new(Method::DELETE, url)).await;
        }
        error
    }

    /// Puts a stored file's bytes into a repository under a name of its own.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn add_file(
        &self,
        repository: &Repository,
        artifact: &Href,
        relative_path: &str,
        wait: &Wait<'_>,
    ) -> Result<Href, PulpError> {
        let action = format!("put {relative_path} into the repository {}", repository.name);
        let body = json!({"artifact": artifact, "relative_path": relative_path, "repository": repository.href});
        self.new_version(&action, repository, self.kind_url(Kind::Files), &body, wait).await
    }

    /// The file under a reference that is kept in a record.
    ///
    /// # Errors
    /// There is none, refused, or no answer.
    pub async fn file(&self, href: &Href) -> Result<StoredFile, PulpError> {
        let action = format!("look for the file {href}");
        let found: FileAnswer = self.object(&action, href).await?;
        self.checked(&action, found)
    }

    async fn stored_file(
        &self,
        action: &str,
        made: Option<Href>,
        relative_path: &str,
        digest: &Digest,
    ) -> Result<StoredFile, PulpError> {
        if let Some(href) = made {
            return self.file(&href).await;
        }
        // The same file was there before.
        let filters = [("relative_path", relative_path), ("sha256", digest.hex())];
        let found = self.list::<FileAnswer>(action, Kind::Files, &filters).await?.into_iter().next();
        let found = found.ok_or_else(|| self.protocol(action, "the file is not there after its upload".to_owned()))?;
        self.checked(action, found)
    }

    fn checked(&self, action: &str, found: FileAnswer) -> Result<StoredFile, PulpError> {
        let digest = found.sha256.as_deref().and_then(|hex| format!("sha256:{hex}").parse().ok());
        let digest = digest.ok_or_else(|| self.protocol(action, "a file without a digest".to_owned()))?;
        let relative_path = one_line(&found.relative_path);
        Ok(StoredFile { href: found.pulp_href, relative_path, artifact: found.artifact, digest })
    }

    /// Shows clients the files of a repository version under a path.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn publish_files(
        &self,
        name: &str,
        base_path: &str,
        version: &Href,
        wait: &Wait<'_>,
    ) -> Result<Distribution, PulpError> {
        let action = format!("make a publication of {name}");
        let body = json!({"repository_version": version});
        let url = self.kind_url(Kind::FilePublications);
        let task = self.run_task(&action, Method::POST, url, &body, wait).await?;
        let made = task.created("/publications/");
        let publication = made.ok_or_else(|| self.protocol(&action, "the task made no publication".to_owned()))?;
        self.show_files(name, base_path, &publication, wait).await
    }

    /// Shows clients the files of a publication under a path.
    ///
    /// # Errors
    /// Refused, no answer, or the task did not complete.
    pub async fn show_files(
        &self,
        name: &str,
        base_path: &str,
        publication: &Href,
        wait: &Wait<'_>,
    ) -> Result<Distribution, PulpError> {
        self.distribute(Kind::FileDistributions, (name, base_path), ("publication", publication), wait).await
    }

    /// Which files clients see under a path now; `None` where there is nothing.
    ///
    /// # Errors
    /// Refused or no answer.
    pub async fn file_distribution(&self, base_path: &str) -> Result<Option<Distribution>, PulpError> {
        self.distribution_of(Kind::FileDistributions, base_path).await
    }
}

fn of_upload(relative_path: &str) -> String {
    format!("upload {relative_path}")
}

/// A line that does not occur in the piece: nobody can make a piece that holds its own digest.
fn boundary(piece: &[u8]) -> String {
    format!("osbs-{}", Digest::from_sha256(&Sha256::digest(piece).into()).hex())
}
