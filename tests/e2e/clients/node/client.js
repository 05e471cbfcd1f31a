// What a program for Node does with links: every call once, by Node's own gRPC. Prints what it saw as JSON.
//
//   node client.js ADDRESS TAG INCLUDE...
//
// TAG is the links' own; the folders INCLUDE hold waypost/api/v1/*.proto and google/{api,rpc}/*.proto. The API key comes
// from WAYPOST_API_KEY.
'use strict';

const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const [address, tag, ...includeDirs] = process.argv.slice(2);
const definition = protoLoader.loadSync(
  ['waypost/api/v1/link_service.proto', 'google/rpc/status.proto', 'google/rpc/error_details.proto'],
  { includeDirs, keepCase: true, enums: String, longs: String, defaults: true, oneofs: true },
);
const { LinkService } = grpc.loadPackageDefinition(definition).waypost.api.v1;
const client = new LinkService(address, grpc.credentials.createInsecure());

/** Calls a method; resolves to the answer, rejects with grpc-js's own error. */
function call(method, request, { metadata = {}, timeoutMs = 10_000 } = {}) {
  const headers = new grpc.Metadata();
  headers.set('x-api-key', process.env.WAYPOST_API_KEY);
  for (const [name, value] of Object.entries(metadata)) headers.set(name, value);
  return new Promise((resolve, reject) => {
    client[method](request, headers, { deadline: Date.now() + timeoutMs }, (error, answer) =>
      error ? reject(error) : resolve(answer),
    );
  });
}

/** The error that a call must end with, with the details that its trailers bring. */
async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    const [bytes] = error.metadata.get('grpc-status-details-bin');
    return {
      code: grpc.status[error.code],
      message: error.details,
      details: bytes ? definition['google.rpc.Status'].deserialize(bytes).details.map(unpacked) : [],
    };
  }
  throw new Error('the call was answered');
}

function unpacked({ type_url: url, value }) {
  const name = url.slice(url.lastIndexOf('/') + 1);
  return { type: name, ...definition[name].deserialize(value) };
}

/** Every link of a list, a page at a time. */
async function* listed(request) {
  let page_token = '';
  do {
    const page = await call('ListLinks', { ...request, page_token });
    yield* page.links;
    page_token = page.next_page_token;
  } while (page_token);
}

async function main() {
  const seen = {};
  seen.created = await call('CreateLink', { url: 'https://a.example/?é', title: 'Knoten 🪢', tags: [tag], ttl_seconds: 60 });
  const { short_code } = seen.created;

  const requests = [0, 1, 2].map((place) => ({ url: `https://a.example/${place}`, tags: [tag] }));
  const batch = await call('BatchCreateLinks', { requests: [...requests, { url: 'no' }] });
  seen.outcomes = batch.results.map((result) => result.outcome);
  const { error } = batch.results[3];
  seen.refused = { code: grpc.status[error.code], details: error.details.map(unpacked) };

  seen.listed = [];
  for await (const link of listed({ filter: `tag = "${tag}"`, order_by: 'created_at', page_size: 1 })) {
    seen.listed.push(link.short_code);
  }

  seen.updated = await call('UpdateLink', {
    short_code,
    title: 'not looked at',
    tags: [tag, 'new'],
    update_mask: { paths: ['tags', 'expires_at'] },
    etag: seen.created.etag,
  });
  seen.mismatch = await failure(call('UpdateLink', { short_code, title: 'late', etag: seen.created.etag }));

  const again = { url: 'https://a.example/once', tags: [tag], request_id: `${tag}-once` };
  seen.once = await Promise.all([call('CreateLink', again), call('CreateLink', again)]);
  delete again.request_id;
  seen.once.push(await call('CreateLink', again, { metadata: { 'idempotency-key': `${tag}-once` } }));
  seen.reused = await failure(
    call('CreateLink', { ...again, title: 'other' }, { metadata: { 'idempotency-key': `${tag}-once` } }),
  );

  seen.deleted = await call('DeleteLink', { short_code });
  seen.undeleted = await call('UndeleteLink', { short_code });
  seen.stranger = await failure(call('GetLink', { short_code }, { metadata: { 'x-api-key': 'wp_' } }));
  seen.late = await failure(call('GetLink', { short_code }, { timeoutMs: 0 }));
  seen.missing = await failure(call('GetLink', { short_code: 'nobody-has-this' }));
  console.log(JSON.stringify(seen));
}

main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => client.close());
