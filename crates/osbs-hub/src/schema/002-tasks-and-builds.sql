-- Tasks, builds and what belongs to them. Requests and results are XML-RPC documents, as builders send and get them.

CREATE TABLE task (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    state           INTEGER NOT NULL,   -- 0 free, 1 open, 2 closed, 3 canceled, 4 assigned, 5 failed
    method          TEXT NOT NULL,
    request         TEXT NOT NULL,
    result          TEXT,
    owner           INTEGER NOT NULL REFERENCES users (id),
    channel_id      INTEGER NOT NULL REFERENCES channels (id),
    arch            TEXT NOT NULL,
    host_id         INTEGER REFERENCES host (id),
    parent          INTEGER REFERENCES task (id),
    label           TEXT,
    priority        INTEGER NOT NULL,
    weight          REAL NOT NULL DEFAULT 1.0,
    waiting         INTEGER,
    awaited         INTEGER,
    create_time     INTEGER NOT NULL,
    assign_time     INTEGER,            -- when it was last handed to a host
    start_time      INTEGER,
    completion_time INTEGER,
    UNIQUE (parent, label)
) STRICT;
CREATE INDEX task_waiting ON task (priority, create_time) WHERE state IN (0, 4);
CREATE INDEX task_unfinished ON task (host_id) WHERE state IN (0, 1, 4);
CREATE INDEX task_owner ON task (owner);
CREATE INDEX task_method ON task (method);

CREATE TABLE task_refusals (
    task_id INTEGER NOT NULL REFERENCES task (id),
    host_id INTEGER NOT NULL REFERENCES host (id),
    soft    INTEGER NOT NULL,           -- forgotten after a while
    msg     TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (task_id, host_id)
) STRICT, WITHOUT ROWID;

-- The first user who uploads to a folder owns it. Paths are below the work folder.
CREATE TABLE upload_folders (
    path    TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE build (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    pkg_id          INTEGER NOT NULL REFERENCES package (id),
    version         TEXT NOT NULL,
    release         TEXT NOT NULL,
    epoch           INTEGER,
    draft           INTEGER NOT NULL DEFAULT 0,
    state           INTEGER NOT NULL,   -- 0 building, 1 complete, 2 deleted, 3 failed, 4 canceled
    task_id         INTEGER REFERENCES task (id),
    owner           INTEGER NOT NULL REFERENCES users (id),
    source          TEXT,
    extra           TEXT,               -- JSON
    cg_id           INTEGER REFERENCES content_generator (id),
    create_event    INTEGER NOT NULL REFERENCES events (id),
    start_time      INTEGER,
    completion_time INTEGER,
    UNIQUE (pkg_id, version, release)
) STRICT;
CREATE INDEX build_task ON build (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX build_owner ON build (owner);

CREATE TABLE build_reservations (
    build_id     INTEGER PRIMARY KEY REFERENCES build (id),
    token_digest BLOB NOT NULL,         -- SHA-256: who reads the database holds no token
    created      INTEGER NOT NULL
) STRICT;

CREATE TABLE build_types (
    build_id INTEGER NOT NULL REFERENCES build (id),
    btype_id INTEGER NOT NULL REFERENCES btype (id),
    PRIMARY KEY (build_id, btype_id)
) STRICT, WITHOUT ROWID;

-- An import whose row is here has been committed: its files stay (see import/journal.rs).
CREATE TABLE imports (
    id       TEXT PRIMARY KEY,
    build_id INTEGER NOT NULL REFERENCES build (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE buildroot (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    cg_id          INTEGER NOT NULL REFERENCES content_generator (id),
    cg_version     TEXT NOT NULL,
    container_type TEXT NOT NULL,
    container_arch TEXT NOT NULL,
    host_os        TEXT NOT NULL,
    host_arch      TEXT NOT NULL,
    extra          TEXT                 -- JSON
) STRICT;

CREATE TABLE buildroot_tools (
    buildroot_id INTEGER NOT NULL REFERENCES buildroot (id),
    tool         TEXT NOT NULL,
    version      TEXT NOT NULL,
    PRIMARY KEY (buildroot_id, tool)
) STRICT, WITHOUT ROWID;

-- RPM packages that this hub knows: components are matched against them.
CREATE TABLE rpminfo (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    build_id     INTEGER REFERENCES build (id),
    buildroot_id INTEGER REFERENCES buildroot (id),
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    release      TEXT NOT NULL,
    epoch        INTEGER,
    arch         TEXT NOT NULL,
    payloadhash  TEXT NOT NULL,
    size         INTEGER NOT NULL,
    buildtime    INTEGER NOT NULL,
    extra        TEXT,                  -- JSON
    UNIQUE (name, version, release, arch)
) STRICT;
CREATE INDEX rpminfo_build ON rpminfo (build_id);

CREATE TABLE buildroot_listing (
    buildroot_id INTEGER NOT NULL REFERENCES buildroot (id),
    rpm_id       INTEGER NOT NULL REFERENCES rpminfo (id),
    is_update    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (buildroot_id, rpm_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE archiveinfo (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    build_id      INTEGER NOT NULL REFERENCES build (id),
    buildroot_id  INTEGER REFERENCES buildroot (id),
    btype_id      INTEGER NOT NULL REFERENCES btype (id),
    type_id       INTEGER NOT NULL REFERENCES archivetypes (id),
    filename      TEXT NOT NULL,
    size          INTEGER NOT NULL,
    checksum      TEXT NOT NULL,
    checksum_type INTEGER NOT NULL,     -- 0 md5, 1 sha1, 2 sha256, 3 adler32
    metadata_only INTEGER NOT NULL,
    extra         TEXT,                 -- JSON
    arch          TEXT                  -- of images
) STRICT;
CREATE INDEX archiveinfo_build ON archiveinfo (build_id);
CREATE INDEX archiveinfo_filename ON archiveinfo (filename);

CREATE TABLE buildroot_archives (
    buildroot_id INTEGER NOT NULL REFERENCES buildroot (id),
    archive_id   INTEGER NOT NULL REFERENCES archiveinfo (id),
    project_dep  INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (buildroot_id, archive_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE archive_rpm_components (
    archive_id INTEGER NOT NULL REFERENCES archiveinfo (id),
    rpm_id     INTEGER NOT NULL REFERENCES rpminfo (id),
    PRIMARY KEY (archive_id, rpm_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE archive_components (
    archive_id   INTEGER NOT NULL REFERENCES archiveinfo (id),
    component_id INTEGER NOT NULL REFERENCES archiveinfo (id),
    PRIMARY KEY (archive_id, component_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE tag_listing (
    build_id     INTEGER NOT NULL REFERENCES build (id),
    tag_id       INTEGER NOT NULL REFERENCES tag (id),
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX tag_listing_active ON tag_listing (tag_id, build_id) WHERE revoke_event IS NULL;
CREATE INDEX tag_listing_build ON tag_listing (build_id);
