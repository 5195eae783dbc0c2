-- Who may do what, and what a build is tagged for. Times are microseconds since the epoch, flags 0 or 1.
-- A row with create_event and revoke_event is never changed but revoked: what held at an event can be asked for.

CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT NOT NULL UNIQUE,
    password   TEXT,                        -- argon2id in PHC form
    status     INTEGER NOT NULL DEFAULT 0,  -- 0 normal, 1 blocked
    usertype   INTEGER NOT NULL DEFAULT 0   -- 0 normal, 1 host
) STRICT;

CREATE TABLE user_krb_principals (
    user_id   INTEGER NOT NULL REFERENCES users (id),
    principal TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE permissions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE,
    description TEXT
) STRICT;

CREATE TABLE user_perms (
    user_id      INTEGER NOT NULL REFERENCES users (id),
    perm_id      INTEGER NOT NULL REFERENCES permissions (id),
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX user_perms_active ON user_perms (user_id, perm_id) WHERE revoke_event IS NULL;

CREATE TABLE sessions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id     INTEGER NOT NULL REFERENCES users (id),
    key_digest  BLOB NOT NULL,     -- SHA-256 of the key: who reads the database holds no session
    authtype    INTEGER NOT NULL,
    hostip      TEXT NOT NULL,
    callnum     INTEGER,
    start_time  INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    renew_time  INTEGER,
    master      INTEGER REFERENCES sessions (id),
    exclusive   INTEGER NOT NULL DEFAULT 0,
    closed      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX sessions_exclusive ON sessions (user_id) WHERE exclusive = 1 AND closed = 0;
CREATE INDEX sessions_master ON sessions (master) WHERE master IS NOT NULL;
CREATE INDEX sessions_open ON sessions (update_time) WHERE closed = 0;

CREATE TABLE tag (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE tag_config (
    tag_id            INTEGER NOT NULL REFERENCES tag (id),
    arches            TEXT,
    perm_id           INTEGER REFERENCES permissions (id),
    locked            INTEGER NOT NULL,
    maven_support     INTEGER NOT NULL,
    maven_include_all INTEGER NOT NULL,
    create_event      INTEGER NOT NULL REFERENCES events (id),
    revoke_event      INTEGER REFERENCES events (id),
    creator_id        INTEGER NOT NULL REFERENCES users (id),
    revoker_id        INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX tag_config_active ON tag_config (tag_id) WHERE revoke_event IS NULL;
CREATE INDEX tag_name ON tag (name);

CREATE TABLE tag_extra (
    tag_id       INTEGER NOT NULL REFERENCES tag (id),
    key          TEXT NOT NULL,
    value        TEXT,              -- JSON; none: blocks what is inherited
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX tag_extra_active ON tag_extra (tag_id, key) WHERE revoke_event IS NULL;

CREATE TABLE tag_inheritance (
    tag_id       INTEGER NOT NULL REFERENCES tag (id),
    parent_id    INTEGER NOT NULL REFERENCES tag (id),
    priority     INTEGER NOT NULL,
    maxdepth     INTEGER,
    intransitive INTEGER NOT NULL,
    noconfig     INTEGER NOT NULL,
    pkg_filter   TEXT NOT NULL,
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX tag_inheritance_active ON tag_inheritance (tag_id, priority) WHERE revoke_event IS NULL;

CREATE TABLE build_target (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE build_target_config (
    build_target_id INTEGER NOT NULL REFERENCES build_target (id),
    build_tag       INTEGER NOT NULL REFERENCES tag (id),
    dest_tag        INTEGER NOT NULL REFERENCES tag (id),
    create_event    INTEGER NOT NULL REFERENCES events (id),
    revoke_event    INTEGER REFERENCES events (id),
    creator_id      INTEGER NOT NULL REFERENCES users (id),
    revoker_id      INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX build_target_config_active ON build_target_config (build_target_id) WHERE revoke_event IS NULL;

CREATE TABLE package (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE tag_packages (
    package_id   INTEGER NOT NULL REFERENCES package (id),
    tag_id       INTEGER NOT NULL REFERENCES tag (id),
    blocked      INTEGER NOT NULL,
    extra_arches TEXT,
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX tag_packages_active ON tag_packages (tag_id, package_id) WHERE revoke_event IS NULL;

CREATE TABLE tag_package_owners (
    package_id   INTEGER NOT NULL REFERENCES package (id),
    tag_id       INTEGER NOT NULL REFERENCES tag (id),
    owner        INTEGER NOT NULL REFERENCES users (id),
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX tag_package_owners_active ON tag_package_owners (tag_id, package_id) WHERE revoke_event IS NULL;

CREATE TABLE host (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id     INTEGER NOT NULL UNIQUE REFERENCES users (id),
    name        TEXT NOT NULL UNIQUE,
    task_load   REAL NOT NULL DEFAULT 0.0,
    ready       INTEGER NOT NULL DEFAULT 0,
    update_time INTEGER,                    -- the last sign of life
    data        TEXT                        -- JSON of the last host.updateHost
) STRICT;

CREATE TABLE host_config (
    host_id      INTEGER NOT NULL REFERENCES host (id),
    arches       TEXT,
    capacity     REAL NOT NULL,
    description  TEXT,
    comment      TEXT,
    enabled      INTEGER NOT NULL,
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX host_config_active ON host_config (host_id) WHERE revoke_event IS NULL;

CREATE TABLE channels (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL UNIQUE,
    description TEXT,
    enabled     INTEGER NOT NULL DEFAULT 1,
    comment     TEXT
) STRICT;

CREATE TABLE host_channels (
    host_id      INTEGER NOT NULL REFERENCES host (id),
    channel_id   INTEGER NOT NULL REFERENCES channels (id),
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX host_channels_active ON host_channels (host_id, channel_id) WHERE revoke_event IS NULL;

CREATE TABLE btype (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE archivetypes (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    name             TEXT NOT NULL UNIQUE,
    description      TEXT NOT NULL,
    extensions       TEXT NOT NULL,         -- with one space between
    compression_type TEXT
) STRICT;

CREATE TABLE content_generator (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE cg_users (
    cg_id        INTEGER NOT NULL REFERENCES content_generator (id),
    user_id      INTEGER NOT NULL REFERENCES users (id),
    create_event INTEGER NOT NULL REFERENCES events (id),
    revoke_event INTEGER REFERENCES events (id),
    creator_id   INTEGER NOT NULL REFERENCES users (id),
    revoker_id   INTEGER REFERENCES users (id)
) STRICT;
CREATE UNIQUE INDEX cg_users_active ON cg_users (cg_id, user_id) WHERE revoke_event IS NULL;

-- What a new hub of Koji knows.
INSERT INTO permissions (name, description) VALUES
    ('admin', 'Full administrator access. Perform all actions.'),
    ('appliance', 'Create appliance builds.'),
    ('build', 'Deprecated: not used by the default policies.'),
    ('build-import', 'Import builds.'),
    ('dist-repo', 'Create a repository of signed packages.'),
    ('draft-promoter', 'Promote a draft build.'),
    ('host', 'Add, remove and change hosts and channels.'),
    ('image', 'Start image tasks.'),
    ('image-import', 'Import images.'),
    ('livecd', 'Start live CD tasks.'),
    ('maven-import', 'Import Maven builds.'),
    ('repo', 'Make a repository anew.'),
    ('sign', 'Add signatures to packages.'),
    ('tag', 'Manage packages in tags, and tags.'),
    ('target', 'Add, change and delete targets.'),
    ('win-admin', 'Start Windows builds.'),
    ('win-import', 'Import Windows builds.');

INSERT INTO channels (name, description) VALUES
    ('default', NULL), ('createrepo', NULL), ('maven', NULL), ('livecd', NULL), ('appliance', NULL), ('vm', NULL),
    ('image', NULL), ('livemedia', NULL), ('container', 'Container builds'), ('container-binary', 'Container builds');

INSERT INTO btype (name) VALUES ('rpm'), ('maven'), ('win'), ('image'), ('operator-manifests'), ('remote-sources');

INSERT INTO archivetypes (name, description, extensions, compression_type) VALUES
    ('jar', 'Jar file', 'jar war rar ear sar jdocbook jdocbook-style', 'zip'),
    ('zip', 'Zip file', 'zip', 'zip'),
    ('pom', 'Maven Project Object Management file', 'pom', NULL),
    ('tar', 'Tar file', 'tar tar.gz tar.bz2 tar.xz tgz', 'tar'),
    ('xml', 'XML file', 'xml', NULL),
    ('xmlcompressed', 'Compressed XML file', 'xml.gz xml.bz2 xml.xz', NULL),
    ('xsd', 'XML Schema Definition', 'xsd', NULL),
    ('so', 'Shared library', 'so', NULL),
    ('txt', 'Text file', 'txt', NULL),
    ('spec', 'RPM spec file', 'spec', NULL),
    ('iso', 'CD/DVD Image', 'iso', NULL),
    ('raw', 'Raw disk image', 'raw', NULL),
    ('raw-gz', 'GZIP compressed raw disk image', 'raw.gz', NULL),
    ('raw-xz', 'XZ compressed raw disk image', 'raw.xz', NULL),
    ('qcow', 'QCOW image', 'qcow', NULL),
    ('qcow2', 'QCOW2 image', 'qcow2', NULL),
    ('qcow2-compressed', 'Compressed QCOW2 image', 'qcow2.gz qcow2.xz', NULL),
    ('vmdk', 'VMware disk image', 'vmdk', NULL),
    ('ova', 'Open Virtualization Archive', 'ova', NULL),
    ('ks', 'Kickstart', 'ks', NULL),
    ('cfg', 'Configuration file', 'cfg', NULL),
    ('vhd', 'Hyper-V image', 'vhd', NULL),
    ('vhd-compressed', 'Compressed Hyper-V image', 'vhd.gz vhd.xz', NULL),
    ('json', 'JSON data', 'json', NULL),
    ('yaml', 'YAML Ain''t Markup Language', 'yaml yml', NULL),
    ('checksum', 'Checksum file', 'sha256sum sha512sum md5sum', NULL);
