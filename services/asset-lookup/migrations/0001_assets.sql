-- The inventory. Collation "C": pages go by the order of bytes, whatever the database's locale.
CREATE TABLE gpu_assets (
    gpu_uuid           text COLLATE "C" PRIMARY KEY,
    model              text        NOT NULL,
    architecture       text,
    compute_capability text,
    memory_gb          integer     CHECK (memory_gb > 0),
    serial             text,
    hostname           text,
    pci_bus_id         text,
    rack_id            text,
    cluster_id         text,
    datacenter         text,
    region             text,
    purchase_date      date,
    deployment_date    date,
    warranty_expiry    date,
    expected_eol       date,
    sla_tier           text        NOT NULL DEFAULT 'development'
                                   CHECK (sla_tier IN ('production', 'staging', 'development')),
    priority           integer     NOT NULL DEFAULT 5 CHECK (priority BETWEEN 1 AND 10),
    tags               jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(tags) = 'object'),
    notes              text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);

-- One index for each filter of the list, in the order of its pages.
CREATE INDEX gpu_assets_rack ON gpu_assets (rack_id, gpu_uuid);
CREATE INDEX gpu_assets_cluster ON gpu_assets (cluster_id, gpu_uuid);
CREATE INDEX gpu_assets_model ON gpu_assets (model, gpu_uuid);

-- What Kafka has yet to be told. A row is written in the transaction that changes the asset, after that transaction has
-- locked the asset's row: so the ids of one GPU are in the order of its commits, though those of several need not be.
CREATE TABLE asset_outbox (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gpu_uuid   text        NOT NULL,
    -- The asset as JSON; null is a tombstone.
    value      text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each topic that was published to.
CREATE TABLE asset_publication (
    topic           text PRIMARY KEY,
    -- How many partitions it had then; keys would be in the wrong ones if it had more now. Null before the first time.
    partitions      integer,
    -- Everything is being published again: the GPU that was last put into the outbox, '' at the start, null when done.
    republish_after text
);
