//! BuildConfigs, ConfigMaps and the record of NVRs in the database.

use crate::database::{Database, corrupt, json, parsed, sql};
use osbs_cluster::{BuildConfig, ClusterError, Reservation, TextMap, merge_build_config, next_release};
use osbs_types::{BuildName, Nvr, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::path::Path;

fn find_config(
    connection: &Connection,
    place: &Path,
    namespace: &str,
    name: &str,
) -> Result<Option<BuildConfig>, ClusterError> {
    connection
        .prepare_cached("SELECT record, last_version FROM build_configs WHERE namespace = ?1 AND name = ?2")
        .and_then(|mut statement| {
            let config = |row: &rusqlite::Row<'_>| {
                Ok(BuildConfig { last_version: row.get::<_, i64>(1)? as u64, ..json(row, 0)? })
            };
            statement.query_row(params![namespace, name], config).optional()
        })
        .map_err(sql("read the BuildConfig", place))
}

fn save_config(
    transaction: &Transaction<'_>,
    place: &Path,
    namespace: &str,
    config: &BuildConfig,
) -> Result<(), ClusterError> {
    let record = serde_json::to_string(config).map_err(corrupt("a BuildConfig", place))?;
    transaction
        .execute(
            "INSERT INTO build_configs (namespace, name, last_version, record) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET last_version = ?3, record = ?4",
            params![namespace, config.name, config.last_version as i64, record],
        )
        .map(drop)
        .map_err(sql("record the BuildConfig", place))
}

/// The next number of a BuildConfig.
pub(crate) fn count_up(
    transaction: &Transaction<'_>,
    place: &Path,
    namespace: &str,
    name: &str,
) -> Result<u64, ClusterError> {
    let mut config = find_config(transaction, place, namespace, name)?.ok_or_else(|| ClusterError::NotFound {
        kind: "BuildConfig",
        name: name.to_owned(),
        namespace: namespace.to_owned(),
    })?;
    config.last_version += 1;
    save_config(transaction, place, namespace, &config)?;
    Ok(config.last_version)
}

impl Database {
    pub(crate) fn ensure_config(&mut self, namespace: &str, wanted: &BuildConfig) -> Result<BuildConfig, ClusterError> {
        self.write("record the BuildConfig", |transaction, place| {
            let config = match find_config(transaction, place, namespace, &wanted.name)? {
                Some(mut existing) => {
                    merge_build_config(&mut existing, wanted)?;
                    existing
                }
                None => BuildConfig { last_version: 0, ..wanted.clone() },
            };
            save_config(transaction, place, namespace, &config)?;
            Ok(config)
        })
    }

    pub(crate) fn config(&self, namespace: &str, name: &str) -> Result<Option<BuildConfig>, ClusterError> {
        find_config(self.connection(), self.place(), namespace, name)
    }

    pub(crate) fn configs(&self, namespace: &str) -> Result<Vec<BuildConfig>, ClusterError> {
        let failed = "list BuildConfigs";
        let mut statement = self
            .connection()
            .prepare_cached("SELECT record, last_version FROM build_configs WHERE namespace = ?1 ORDER BY name")
            .map_err(sql(failed, self.place()))?;
        let rows = statement
            .query_map([namespace], |row| {
                Ok(BuildConfig { last_version: row.get::<_, i64>(1)? as u64, ..json(row, 0)? })
            })
            .map_err(sql(failed, self.place()))?;
        rows.collect::<Result<_, _>>().map_err(sql(failed, self.place()))
    }

    pub(crate) fn delete_row(&mut self, table: Table, namespace: &str, name: &str) -> Result<(), ClusterError> {
        let query = match table {
            Table::BuildConfigs => "DELETE FROM build_configs WHERE namespace = ?1 AND name = ?2",
            Table::ConfigMaps => "DELETE FROM config_maps WHERE namespace = ?1 AND name = ?2",
        };
        self.write("remove an object", |transaction, place| {
            transaction.execute(query, params![namespace, name]).map(drop).map_err(sql("remove an object", place))
        })
    }

    pub(crate) fn put_map(&mut self, namespace: &str, name: &str, data: &TextMap) -> Result<(), ClusterError> {
        self.write("record the ConfigMap", |transaction, place| {
            let text = serde_json::to_string(data).map_err(corrupt("a ConfigMap", place))?;
            transaction
                .execute(
                    "INSERT INTO config_maps (namespace, name, data) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET data = ?3",
                    params![namespace, name, text],
                )
                .map(drop)
                .map_err(sql("record the ConfigMap", place))
        })
    }

    pub(crate) fn map(&self, namespace: &str, name: &str) -> Result<TextMap, ClusterError> {
        self.connection()
            .query_row(
                "SELECT data FROM config_maps WHERE namespace = ?1 AND name = ?2",
                params![namespace, name],
                |row| json(row, 0),
            )
            .optional()
            .map_err(sql("read the ConfigMap", self.place()))?
            .ok_or_else(|| ClusterError::NotFound {
                kind: "ConfigMap",
                name: name.to_owned(),
                namespace: namespace.to_owned(),
            })
    }

    pub(crate) fn maps(&self, namespace: &str) -> Result<Vec<String>, ClusterError> {
        let failed = "list ConfigMaps";
        let mut statement = self
            .connection()
            .prepare_cached("SELECT name FROM config_maps WHERE namespace = ?1 ORDER BY name")
            .map_err(sql(failed, self.place()))?;
        let rows = statement.query_map([namespace], |row| row.get(0)).map_err(sql(failed, self.place()))?;
        rows.collect::<Result<_, _>>().map_err(sql(failed, self.place()))
    }

    /// NVRs belong to the whole home, whatever the namespace: a registry and a Koji hub know no namespaces.
    pub(crate) fn reserve(&mut self, namespace: &str, nvr: &Nvr, by: &BuildName) -> Result<Reservation, ClusterError> {
        self.write("reserve the NVR", |transaction, place| {
            let at = Timestamp::now();
            let failed = "reserve the NVR";
            transaction
                .execute(
                    "INSERT INTO nvrs (component, version, release, namespace, build, reserved_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                    params![nvr.name(), nvr.version(), nvr.release(), namespace, by.as_str(), at.to_string()],
                )
                .map_err(sql(failed, place))?;
            let (owner, home, at): (BuildName, String, Timestamp) = transaction
                .query_row(
                    "SELECT build, namespace, reserved_at FROM nvrs WHERE component = ?1 AND version = ?2 AND release = ?3",
                    params![nvr.name(), nvr.version(), nvr.release()],
                    |row| Ok((parsed(row, 0)?, row.get(1)?, parsed(row, 2)?)),
                )
                .map_err(sql(failed, place))?;
            if owner == *by && home == namespace {
                return Ok(Reservation { nvr: nvr.clone(), by: owner, at });
            }
            Err(ClusterError::NvrTaken { nvr: nvr.clone(), by: owner })
        })
    }

    pub(crate) fn owner_of(&self, nvr: &Nvr) -> Result<Option<BuildName>, ClusterError> {
        self.connection()
            .query_row(
                "SELECT build FROM nvrs WHERE component = ?1 AND version = ?2 AND release = ?3",
                params![nvr.name(), nvr.version(), nvr.release()],
                |row| parsed(row, 0),
            )
            .optional()
            .map_err(sql("read the record of NVRs", self.place()))
    }

    pub(crate) fn release_after(&self, component: &str, version: &str) -> Result<String, ClusterError> {
        let failed = "read the record of NVRs";
        let mut statement = self
            .connection()
            .prepare_cached("SELECT release FROM nvrs WHERE component = ?1 AND version = ?2")
            .map_err(sql(failed, self.place()))?;
        let taken: Vec<String> = statement
            .query_map([component, version], |row| row.get(0))
            .and_then(Iterator::collect)
            .map_err(sql(failed, self.place()))?;
        Ok(next_release(taken.iter().map(String::as_str)))
    }
}

/// Tables of objects with a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    /// `build_configs`.
    BuildConfigs,
    /// `config_maps`.
    ConfigMaps,
}
