//! The order in which requests that wait for a place get one.

use crate::engine::contract::GenerationRequest;

/// Indices of requests, those with the longest expected completions first, so that the last ones to end are short. A request
/// without an expectation counts as the mean. Equals keep their order.
pub(crate) fn longest_first(requests: &[GenerationRequest]) -> Vec<usize> {
    let mut order = (0..requests.len()).collect::<Vec<_>>();
    let known = requests.iter().filter_map(|request| request.expected_tokens);
    let (sum, count) = known.fold((0.0, 0.0), |(sum, count), tokens| (sum + tokens, count + 1.0));
    if count > 0.0 {
        let expected = |index: usize| requests[index].expected_tokens.unwrap_or(sum / count);
        order.sort_by(|&one, &other| expected(other).total_cmp(&expected(one)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::contract::Sampling;

    #[test]
    fn the_longest_come_first_and_the_unknown_count_as_the_mean() {
        let order = |expected: &[Option<f64>]| {
            let request = |&expected_tokens: &Option<f64>| GenerationRequest {
                expected_tokens,
                ..GenerationRequest::new(vec![1], 1, 0, Sampling::default())
            };
            longest_first(&expected.iter().map(request).collect::<Vec<_>>())
        };
        assert_eq!(order(&[Some(1.0), Some(9.0), None, Some(2.0)]), [1, 2, 3, 0]);
        assert_eq!(order(&[None, None, None]), [0, 1, 2]);
        assert_eq!(order(&[Some(3.0), Some(3.0), Some(4.0)]), [2, 0, 1]);
        assert!(order(&[]).is_empty());
    }
}
