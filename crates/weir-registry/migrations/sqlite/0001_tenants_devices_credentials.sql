-- One text for SQLite and PostgreSQL: no BOOLEAN (BIGINT 0 or 1 instead), times as milliseconds
-- since 1970 in BIGINT, objects as JSON in TEXT.

CREATE TABLE tenants (
    id      TEXT   NOT NULL PRIMARY KEY,
    version TEXT   NOT NULL,
    object  TEXT   NOT NULL
);

-- A tenant's devices outlive it, out of reach (Hono's rule); hence no reference to tenants.
CREATE TABLE devices (
    tenant              TEXT   NOT NULL,
    id                  TEXT   NOT NULL,
    version             TEXT   NOT NULL,
    -- Each device has a set of credentials, perhaps empty, with a version of its own.
    credentials_version TEXT   NOT NULL,
    created             BIGINT NOT NULL,
    updated             BIGINT,
    object              TEXT   NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- The groups that gateways belong to; written together with devices.object.
CREATE TABLE memberships (
    tenant     TEXT NOT NULL,
    group_name TEXT NOT NULL,
    device     TEXT NOT NULL,
    PRIMARY KEY (tenant, group_name, device),
    FOREIGN KEY (tenant, device) REFERENCES devices (tenant, id) ON DELETE CASCADE
);
CREATE INDEX memberships_by_device ON memberships (tenant, device);

CREATE TABLE credentials (
    tenant   TEXT   NOT NULL,
    type     TEXT   NOT NULL,
    auth_id  TEXT   NOT NULL,
    device   TEXT   NOT NULL,
    -- Its place in the device's set.
    place    BIGINT NOT NULL,
    object   TEXT   NOT NULL,
    PRIMARY KEY (tenant, type, auth_id),
    FOREIGN KEY (tenant, device) REFERENCES devices (tenant, id) ON DELETE CASCADE
);
CREATE INDEX credentials_by_device ON credentials (tenant, device);
