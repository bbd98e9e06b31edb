//! What a committed offset says beside the offset: who committed it, and from where the input must be replayed.
//!
//! `transactional id`, `client id` and, where the changelog is behind the offset, the offset that it holds the state of;
//! with a tab between them. Empty, when the committer has left in order.

/// Neither a transactional id nor a client id can hold it: both come from names.
const SEPARATOR: char = '\t';

/// A committed offset's metadata, read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metadata<'a> {
    pub(super) transactional_id: &'a str,
    pub(super) client_id: &'a str,
    /// The changelog holds the state as of this input offset; None when it is that of the committed offset itself.
    pub(super) applied: Option<i64>,
}

impl Metadata<'_> {
    /// As it is committed. The broker's limit is 4,096 bytes (`offset.metadata.max.bytes`).
    pub(super) fn encode(&self) -> String {
        let Self {
            transactional_id,
            client_id,
            applied,
        } = self;
        match applied {
            None => format!("{transactional_id}{SEPARATOR}{client_id}"),
            Some(applied) => {
                format!("{transactional_id}{SEPARATOR}{client_id}{SEPARATOR}{applied}")
            }
        }
    }
}

impl<'a> Metadata<'a> {
    /// None when it is of any other form: somebody else's.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.split(SEPARATOR);
        let (transactional_id, client_id) = (fields.next()?, fields.next()?);
        let applied = match fields.next() {
            None => None,
            Some(applied) => Some(applied.parse().ok()?),
        };
        fields.next().is_none().then_some(Self {
            transactional_id,
            client_id,
            applied,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_committed_is_read_back() {
        for applied in [None, Some(0), Some(i64::MAX)] {
            let metadata = Metadata {
                transactional_id: "group-a-0",
                client_id: "service-a-0-consumer",
                applied,
            };
            assert_eq!(Metadata::parse(&metadata.encode()), Some(metadata));
        }
    }

    #[test]
    fn what_others_commit_is_none_of_ours() {
        for text in ["", "somebody else's", "a\tb\tc", "a\tb\t1\t2"] {
            assert_eq!(Metadata::parse(text), None, "{text}");
        }
    }
}
