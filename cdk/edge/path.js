import cf from 'cloudfront';

// A CloudFront Function (runtime cloudfront-js-2.0,
// <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-javascript-runtime-20.html>)
// that runs for each viewer's request at CloudFront's edge. It reads a viewer's path as
// `functions/serve/src/path.rs` does, and replaces it by a key of the bucket or answers 404.
// `cdk/test/edge.test.ts` runs it with the cases of that file.
//
// It is no access control: the bucket's policy says what CloudFront may read.

// The id of the origin for serve (`cdk/lib/cloudfront.ts`;
// <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/helper-functions-origin-modification.html>).
const SERVE = 'serve';

// Longer than any valid path with each character percent-encoded.
const LONGEST = 1024;

const DIGEST = /^([0-9a-f]{64})\.(.+)$/;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._~+@=,-]*(\/[A-Za-z0-9_][A-Za-z0-9._~+@=,-]*)*$/;
const METADATA = /^\/metadata\/(timestamp|[1-9][0-9]{0,19}\.([a-z0-9][a-z0-9_-]{0,63}))\.json$/;

function handler(event) {
  const request = event.request;
  const found = find(request.uri);
  if (found === null) return notFound();
  if (found.origin) cf.selectRequestOriginById(found.origin);
  request.uri = found.uri;
  return request;
}

function find(uri) {
  const path = decode(uri);
  if (path === null) return null;
  if (path.startsWith('/targets/')) return findTarget(path, '/targets/', '/blobs/');
  if (path.startsWith('/chunks/')) return findTarget(path, '/chunks/', '/chunks/');
  const metadata = METADATA.exec(path);
  if (metadata === null) return null;
  // A request for these under another spelling doesn't match their own behavior, and needs the same
  // answer.
  if (metadata[1] === 'timestamp' || metadata[2] === 'root') return { origin: SERVE, uri: path };
  return { uri: path };
}

// With consistent snapshots, a target's path has its digest in front of the last segment or in
// front of the whole path. If the path can mean both, serve looks which of them exists.
function findTarget(path, tree, folder) {
  const rest = path.slice(tree.length);
  const end = rest.lastIndexOf('/') + 1;
  const digests = [];
  const ofFile = DIGEST.exec(rest.slice(end));
  if (ofFile !== null && NAME.test(rest.slice(0, end) + ofFile[2])) digests.push(ofFile[1]);
  const ofPath = DIGEST.exec(rest);
  if (ofPath !== null && NAME.test(ofPath[2]) && digests.indexOf(ofPath[1]) < 0) digests.push(ofPath[1]);
  if (digests.length === 0) return null;
  return digests.length === 1 ? { uri: folder + digests[0] } : { origin: SERVE, uri: path };
}

// Decodes once. `null` if a `%` isn't followed by two hex digits, or if the result isn't UTF-8.
function decode(uri) {
  if (uri.length > LONGEST) return null;
  try {
    return decodeURIComponent(uri);
  } catch (_) {
    return null;
  }
}

function notFound() {
  return {
    statusCode: 404,
    statusDescription: 'Not Found',
    headers: { 'cache-control': { value: 'no-store' }, 'content-type': { value: 'text/plain; charset=utf-8' } },
    body: { encoding: 'text', data: 'not found\n' },
  };
}
