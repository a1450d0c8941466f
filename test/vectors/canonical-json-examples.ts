/** The examples of canonical JSON, line breaks taken out. Specification v1.19, appendices, "Canonical JSON", "Examples". */

export interface CanonicalJsonExample {
  readonly text: string;
  readonly canonical: string;
}

export const CANONICAL_JSON_EXAMPLES: readonly CanonicalJsonExample[] = [
  { text: '{}', canonical: '{}' },
  { text: '{"one": 1,"two": "Two"}', canonical: '{"one":1,"two":"Two"}' },
  { text: '{"b": "2","a": "1"}', canonical: '{"a":"1","b":"2"}' },
  { text: '{"b":"2","a":"1"}', canonical: '{"a":"1","b":"2"}' },
  {
    text: '{"auth": {"success": true,"mxid": "@john.doe:example.com","profile": {"display_name": "John Doe","three_pids": [{"medium": "email","address": "john.doe@example.org"},{"medium": "msisdn","address": "123456789"}]}}}',
    canonical:
      '{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}',
  },
  { text: '{"a": "日本語"}', canonical: '{"a":"日本語"}' },
  { text: '{"本": 2,"日": 1}', canonical: '{"日":1,"本":2}' },
  { text: '{"a": "\\u65E5"}', canonical: '{"a":"日"}' },
  { text: '{"a": null}', canonical: '{"a":null}' },
  { text: '{"a": -0,"b": 1e10}', canonical: '{"a":0,"b":10000000000}' },
];
