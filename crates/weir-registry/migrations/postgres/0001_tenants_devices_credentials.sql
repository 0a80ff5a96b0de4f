-- As in SQLite: no BOOLEAN (BIGINT 0 or 1 instead), times as milliseconds since 1970 in BIGINT,
-- objects as JSON in TEXT. COLLATE "C" for the same order, and for indexes that serve it.

CREATE TABLE tenants (
    id      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    -- Another name; unique among aliases.
    alias   TEXT UNIQUE,
    object  TEXT NOT NULL
);

-- The subjects of tenants' trust anchors; written together with tenants.object.
CREATE TABLE anchors (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    subject_dn TEXT NOT NULL,
    PRIMARY KEY (subject_dn, tenant)
);
CREATE INDEX anchors_by_tenant ON anchors (tenant);

-- A tenant's devices outlive it, out of reach (Hono's rule); hence no reference to tenants.
CREATE TABLE devices (
    tenant              TEXT   COLLATE "C" NOT NULL,
    id                  TEXT   COLLATE "C" NOT NULL,
    version             TEXT   NOT NULL,
    -- Each device has a set of credentials, perhaps empty, with a version of its own.
    credentials_version TEXT   NOT NULL,
    created             BIGINT NOT NULL,
    updated             BIGINT,
    -- The operator who wrote the device last; none if it was registered by itself.
    last_user           TEXT,
    -- 0: registered by an operator; 1: by itself; 2: by itself, and applications have been told.
    provisioned         BIGINT NOT NULL DEFAULT 0,
    object              TEXT   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- The groups that gateways belong to; written together with devices.object.
CREATE TABLE memberships (
    tenant     TEXT COLLATE "C" NOT NULL,
    group_name TEXT NOT NULL,
    device     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, group_name, device),
    FOREIGN KEY (tenant, device) REFERENCES devices (tenant, id) ON DELETE CASCADE
);
CREATE INDEX memberships_by_device ON memberships (tenant, device);

CREATE TABLE credentials (
    tenant   TEXT   COLLATE "C" NOT NULL,
    type     TEXT   NOT NULL,
    auth_id  TEXT   NOT NULL,
    device   TEXT   COLLATE "C" NOT NULL,
    -- Its place in the device's set.
    place    BIGINT NOT NULL,
    object   TEXT   NOT NULL,
    PRIMARY KEY (tenant, type, auth_id),
    FOREIGN KEY (tenant, device) REFERENCES devices (tenant, id) ON DELETE CASCADE
);
CREATE INDEX credentials_by_device ON credentials (tenant, device);

-- What was changed a short while ago, for the other processes on this database.
CREATE TABLE changes (
    id     TEXT   NOT NULL PRIMARY KEY,
    -- The transaction that made the change, by which nobody overlooks one that ends late.
    tx     BIGINT NOT NULL DEFAULT txid_current(),
    -- Its place among those of its transaction.
    number BIGINT NOT NULL,
    -- By this server's clock, which all processes share.
    at     BIGINT NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::BIGINT,
    -- The process that made it.
    source TEXT   NOT NULL,
    body   TEXT   NOT NULL
);
CREATE INDEX changes_by_tx ON changes (tx);
CREATE INDEX changes_by_time ON changes (at);
