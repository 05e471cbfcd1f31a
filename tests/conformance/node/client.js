// Calls two hot ports as a program for Node would, by Node's own gRPC, and ends with 1 at the first thing that is not as
// it must be.
//
//   node client.js PROTOSET LIMITER ECHO
//
// PROTOSET is written by tests/support/protoset.py. LIMITER is the address of a rate limiter that has the domain
// "conformance" with a limit of 3 a year for each value of "address", ECHO that of tests/support/echo_server.py.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const CALLS = 2000;

const [protoset, limiterAddress, echoAddress] = process.argv.slice(2);
const definition = protoLoader.loadFileDescriptorSetFromBuffer(fs.readFileSync(protoset), {
  keepCase: true,
  enums: String,
  longs: String,
  defaults: true,
});
const loaded = grpc.loadPackageDefinition(definition);
const credentials = grpc.credentials.createInsecure();
const limiter = new loaded.envoy.service.ratelimit.v3.RateLimitService(limiterAddress, credentials);
const echo = new loaded.waypost.api.v1.LinkService(echoAddress, credentials);

/** Calls a method; resolves to the answer, the error, and the metadata before and after. */
function call(client, method, request, { metadata = [], timeoutMs = 30_000, cancelMs } = {}) {
  const headers = new grpc.Metadata();
  for (const [name, value] of metadata) headers.add(name, value);
  return new Promise((resolve) => {
    const got = {};
    let left = 2;
    const part = (fields) => {
      Object.assign(got, fields);
      left -= 1;
      if (left === 0) resolve(got);
    };
    const options = { deadline: Date.now() + timeoutMs };
    const made = client[method](request, headers, options, (error, answer) => part({ error, answer }));
    made.on('metadata', (before) => Object.assign(got, { before }));
    made.on('status', ({ metadata: after }) => part({ after }));
    if (cancelMs !== undefined) setTimeout(() => made.cancel(), cancelMs);
  });
}

const about = (address) => ({ domain: 'conformance', descriptors: [{ entries: [{ key: 'address', value: address }] }] });

function unpacked({ type_url: url, value }) {
  const name = url.slice(url.lastIndexOf('/') + 1);
  return definition[name].deserialize(value);
}

const checks = {
  async ShouldRateLimit() {
    for (const [code, remaining] of [['OK', 2], ['OK', 1], ['OK', 0], ['OVER_LIMIT', 0]]) {
      const { error, answer } = await call(limiter, 'ShouldRateLimit', about('node'));
      assert.equal(error, null);
      assert.deepEqual([answer.overall_code, answer.statuses[0].limit_remaining], [code, remaining]);
    }
    const { error } = await call(limiter, 'ShouldRateLimit', {});
    assert.deepEqual([error.code, error.details], [grpc.status.INVALID_ARGUMENT, 'rate limit domain must not be empty']);
  },

  async 'an error with details'() {
    const { error } = await call(echo, 'GetLink', { short_code: 'missing' });
    assert.deepEqual([error.code, error.details], [grpc.status.NOT_FOUND, "no link has the short code 'é % 中文'"]);
    const [bytes] = error.metadata.get('grpc-status-details-bin');
    const [info] = definition['google.rpc.Status'].deserialize(bytes).details.map(unpacked);
    // Read by a set of descriptors, not by files, maps are what they are on the wire.
    const metadata = [{ key: 'short_code', value: 'é % 中文' }];
    assert.deepEqual([info.reason, info.metadata], ['ERROR_REASON_LINK_NOT_FOUND', metadata]);
  },

  async metadata() {
    const metadata = [
      ['x-echo', 'one'],
      ['x-echo', 'two'],
      ['x-echo-bin', Buffer.from([0, 255])],
      ['x-echo-bin', Buffer.from([1])],
    ];
    for (const short_code of ['abc', 'missing']) {
      const { before, after } = await call(echo, 'GetLink', { short_code }, { metadata });
      for (const found of short_code === 'abc' ? [before, after] : [after]) {
        assert.deepEqual(found.get('x-echo').join(', '), 'one, two');
        assert.deepEqual(found.get('x-echo-bin'), [Buffer.from([0, 255]), Buffer.from([1])]);
      }
    }
  },

  async 'a deadline'() {
    const { error } = await call(echo, 'GetLink', { short_code: 'held' }, { timeoutMs: 200 });
    assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
  },

  async 'a cancellation'() {
    const { error } = await call(echo, 'GetLink', { short_code: 'held' }, { cancelMs: 200 });
    assert.equal(error.code, grpc.status.CANCELLED);
  },

  async 'messages of many frames'() {
    const short_code = 'x'.repeat(65_536 - 4);
    assert.equal((await call(echo, 'GetLink', { short_code })).answer.short_code, short_code);
    const { error } = await call(echo, 'GetLink', { short_code: `${short_code}x` });
    assert.equal(error.code, grpc.status.RESOURCE_EXHAUSTED);
  },

  async 'many calls at a time'() {
    const codes = Array.from({ length: CALLS }, (_, number) => `n${number}`);
    const answers = await Promise.all(codes.map((short_code) => call(echo, 'GetLink', { short_code })));
    assert.deepEqual(answers.map(({ error, answer }) => error ?? answer.short_code), codes);
  },
};

async function main() {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
    } catch (error) {
      console.error(`node: ${name}:`, error);
      process.exitCode = 1;
      return;
    }
    console.log(`node: ${name}: as it should be`);
  }
}

main().finally(() => {
  limiter.close();
  echo.close();
});
