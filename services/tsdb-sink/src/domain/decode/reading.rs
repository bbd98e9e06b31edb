//! A reading (`gpu-metrics-enriched`) as a row of `gpu_metrics`.

use super::{check_uuid, not_readable};
use crate::domain::batch::{Batch, Way};
use crate::domain::copy::{self, Why};
use crate::domain::description::Description;
use crate::domain::letter::Unstorable;
use crate::domain::table::Table;
use schema::{EnrichedEvent, METRIC_COUNT};

pub(super) fn decode(
    value: &[u8],
    origin: (usize, i64),
    batch: &mut Batch,
) -> Result<(), Unstorable> {
    let event: EnrichedEvent<'_> =
        serde_json::from_slice(value).map_err(|error| not_readable(&error))?;
    check_uuid(&event.gpu.gpu_uuid)?;
    let description = Description::of(&event);
    if description.holds_nul() {
        let field = "gpu, host or asset";
        return Err(copy::Unstorable {
            field,
            why: Why::Nul,
        }
        .into());
    }
    if event
        .gpu
        .device_index
        .is_some_and(|index| i32::try_from(index).is_err())
    {
        let field = "gpu.device_index";
        return Err(copy::Unstorable {
            field,
            why: Why::Integer,
        }
        .into());
    }

    let mut values = [None; METRIC_COUNT];
    event
        .metrics
        .for_each(|index, value| values[index] = Some(value));
    let bank_remap = json_of(
        event
            .metrics
            .memory
            .as_ref()
            .and_then(|memory| memory.bank_remap_avail.as_ref()),
    )?;
    let xid_counts = json_of(
        event
            .metrics
            .errors
            .as_ref()
            .and_then(|errors| errors.xid_counts.as_ref()),
    )?;
    let workload = event.workload.as_ref();

    let gpu = batch.gpu(&event.gpu.gpu_uuid);
    batch.add(
        (Table::Readings, Way::Plain),
        origin,
        (event.timestamp, gpu),
        |fields| {
            fields.time("validation_timestamp", Some(event.validation_timestamp))?;
            for value in values {
                fields.float8(value);
            }
            fields.jsonb("metrics.memory.bank_remap_avail", bank_remap.as_deref())?;
            fields.jsonb("metrics.errors.xid_counts", xid_counts.as_deref())?;
            fields.text_array("quality_flags", &event.quality_flags)?;
            fields.boolean(event.quality.as_ref().and_then(|quality| quality.stale));
            fields.text(
                "workload.namespace",
                workload.and_then(|w| w.namespace.as_deref()),
            )?;
            fields.text("workload.pod", workload.and_then(|w| w.pod.as_deref()))?;
            fields.text(
                "workload.job_id",
                workload.and_then(|w| w.job_id.as_deref()),
            )
        },
    )?;
    batch.describe(gpu, event.timestamp, description);
    Ok(())
}

fn json_of<T: serde::Serialize>(value: Option<&T>) -> Result<Option<String>, Unstorable> {
    value
        .map(serde_json::to_string)
        .transpose()
        .map_err(|error| not_readable(&error))
}
