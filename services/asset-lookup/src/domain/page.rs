//! Which assets a list shows.

use super::draft::FieldError;

/// How many assets a page holds unless asked otherwise.
pub const DEFAULT_LIMIT: u32 = 100;
/// The most that a page holds.
pub const MAX_LIMIT: u32 = 1_000;

/// A page of the list of assets, in the order of their UUIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only those of this rack.
    pub rack_id: Option<String>,
    /// Only those of this cluster.
    pub cluster_id: Option<String>,
    /// Only those of this model.
    pub model: Option<String>,
    /// Only those after this UUID.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

impl Page {
    /// Reads the parameters of a query; everything that is wrong is said at once.
    pub fn of_query(parameters: Vec<(String, String)>) -> Result<Self, Vec<FieldError>> {
        let (mut rack_id, mut cluster_id, mut model, mut after, mut limit) =
            (None, None, None, None, None);
        let mut errors = Vec::new();
        for (name, value) in parameters {
            let slot = match name.as_str() {
                "rack_id" => &mut rack_id,
                "cluster_id" => &mut cluster_id,
                "model" => &mut model,
                "after" => &mut after,
                "limit" => &mut limit,
                _ => {
                    errors.push(FieldError::new(name, "is no parameter of this list"));
                    continue;
                }
            };
            if value.contains('\0') {
                errors.push(FieldError::new(name, "must not hold a null character"));
            } else if slot.replace(value).is_some() {
                errors.push(FieldError::new(name, "is given twice"));
            }
        }
        let limit = limit.map_or(Ok(DEFAULT_LIMIT), |text| {
            text.parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| FieldError::new("limit", format!("must be 1 to {MAX_LIMIT}")))
        });
        match limit {
            Ok(limit) if errors.is_empty() => Ok(Self {
                rack_id,
                cluster_id,
                model,
                after,
                limit,
            }),
            Ok(_) => Err(errors),
            Err(error) => {
                errors.push(error);
                Err(errors)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<Page, Vec<FieldError>> {
        Page::of_query(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn parameters_are_read_and_wrong_ones_named() {
        assert_eq!(query(&[]).unwrap().limit, DEFAULT_LIMIT);
        let page = query(&[("rack_id", "r"), ("limit", "1000"), ("after", "GPU-1")]).unwrap();
        assert_eq!(
            (page.rack_id.as_deref(), page.limit, page.after.as_deref()),
            (Some("r"), 1_000, Some("GPU-1"))
        );
        let errors = query(&[
            ("rack", "r"),
            ("limit", "0"),
            ("model", "a"),
            ("model", "b"),
        ])
        .unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["rack", "model", "limit"]);
        for limit in ["1001", "-1", "many", ""] {
            assert!(query(&[("limit", limit)]).is_err(), "{limit}");
        }
    }
}
