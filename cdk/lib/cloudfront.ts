/**
 * CloudFront in front of a repository, in place of the API. It reads files that never change from
 * the bucket. For the timestamp, roots and packs it asks the functions, so that no device gets a
 * root that doesn't verify under the one before.
 *
 * *No request bypasses CloudFront.* With CloudFront there is no API at all, and CloudFront calls
 * the functions by their URLs. These URLs accept only requests that IAM allows, and CloudFront
 * signs each request as this one distribution: an origin access control
 * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-lambda.html>).
 * It reads the bucket in the same way.
 *
 * The alternatives with an API are worse:
 *
 * - An HTTP API's own endpoint can only be closed in favour of a custom domain
 *   (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-disable-default-endpoint.html>),
 *   which is just as open.
 * - A secret header that an authorizer compares
 *   (<https://aws.amazon.com/blogs/networking-and-content-delivery/restricting-access-http-api-gateway-lambda-authorizer/>)
 *   is a secret to keep and to rotate, and needs another function for each request.
 * - CloudFront's client certificate
 *   (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/origin-mtls-authentication.html>)
 *   needs an authority that issues it.
 */
import { fileURLToPath } from "node:url";

import { Annotations, Aws, Duration, Fn, Names, Validations } from "aws-cdk-lib";
import {
  AllowedMethods,
  BehaviorOptions,
  CachePolicy,
  CacheQueryStringBehavior,
  CfnDistribution,
  CfnTrustStore,
  Distribution,
  Function as EdgeFunction,
  FunctionCode,
  FunctionEventType,
  FunctionRuntime,
  FunctionUrlOriginAccessControl,
  HttpVersion,
  S3OriginAccessControl,
  ViewerProtocolPolicy,
} from "aws-cdk-lib/aws-cloudfront";
import { FunctionUrlOrigin, S3BucketOrigin } from "aws-cdk-lib/aws-cloudfront-origins";
import { Metric, Stats } from "aws-cdk-lib/aws-cloudwatch";
import { FunctionUrl, FunctionUrlAuthType, IFunction } from "aws-cdk-lib/aws-lambda";
import { Bucket } from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";

import { MtlsAccess, OpenAccess } from "./access.ts";
import { DeviceMetrics, DeviceUrls, deviceUrls } from "./devices.ts";
import { capitalized } from "./names.ts";
import { CloudFront } from "./props.ts";
import { decryptForCloudFront, readByCloudFront } from "./resource-policies.ts";

/** The id of the origin for serve, which `edge/path.js` uses too. */
const SERVE = "serve";

/**
 * The longest that CloudFront keeps files that change, whatever the functions say. A device asks an
 * edge, and the edge asks the cache of its region
 * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/HowCloudFrontWorks.html>).
 * Together the two hide a new root for less than five seconds. The limit holds for a 404 too
 * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/custom-error-pages-expiration.html>).
 */
const CHANGING = Duration.seconds(2);

/**
 * After this time CloudFront asks S3 whether an object is still the same. It is, unless somebody
 * restored a damaged object.
 */
const UNCHANGING = Duration.days(1);

/**
 * CloudFront would cache each of these statuses for ten seconds, whatever the origin says
 * (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/HTTPStatusCodes.html>). A
 * cached 404 would hide a new root for that long, and a brief fault of S3 would reach every device.
 */
const KEPT_ERRORS = [400, 403, 404, 405, 414, 500, 501, 502, 503, 504];

/** The region of CloudFront's metrics, wherever the stack is. */
const REGION_OF_METRICS = "us-east-1";

/** The origins behind CloudFront, and who may read. */
export interface CloudFrontOptions {
  readonly access: OpenAccess | MtlsAccess;
  readonly chosen: CloudFront;
  readonly serve: IFunction;
  /** The function pack, if devices may ask for packs. */
  readonly pack: IFunction | undefined;
  readonly repository: Bucket;
}

/** The distribution with its URLs and metrics. */
export interface DeviceDistribution extends DeviceUrls {
  readonly distribution: Distribution;
  readonly metrics: DeviceMetrics;
}

/** Creates the distribution of the repository `name`. */
export function deviceDistribution(scope: Construct, name: string, options: CloudFrontOptions): DeviceDistribution {
  const { access, chosen, serve, pack, repository } = options;
  const control = new FunctionUrlOriginAccessControl(scope, "FunctionAccess", {
    originAccessControlName: inAllRegions(scope, "functions"),
  });
  const origin = (originId: string, handler: IFunction) => {
    const authType = FunctionUrlAuthType.AWS_IAM;
    const url = new FunctionUrl(scope, `${capitalized(originId)}Url`, { function: handler, authType });
    return FunctionUrlOrigin.withOriginAccessControl(url, { originId, originAccessControl: control });
  };
  const common = {
    viewerProtocolPolicy: ViewerProtocolPolicy.HTTPS_ONLY,
    allowedMethods: AllowedMethods.ALLOW_GET_HEAD,
  };
  const byServe: BehaviorOptions = {
    ...common,
    origin: origin(SERVE, serve),
    cachePolicy: changingFiles(scope),
    compress: false,
  };
  const path = new EdgeFunction(scope, "Path", {
    functionName: inAllRegions(scope, "path"),
    comment: "Maps a path to a key of the bucket",
    code: FunctionCode.fromFile({ filePath: fileURLToPath(new URL("../edge/path.js", import.meta.url)) }),
    runtime: FunctionRuntime.JS_2_0,
  });
  const byPath = { functionAssociations: [{ function: path, eventType: FunctionEventType.VIEWER_REQUEST }] };
  const { originAccessControlId } = new S3OriginAccessControl(scope, "ObjectAccess", {
    originAccessControlName: inAllRegions(scope, "objects"),
  });
  const fromBucket: BehaviorOptions = {
    ...common,
    ...byPath,
    // Not `withOriginAccessControl`, which grants itself the whole bucket: `readByCloudFront` below
    // says what CloudFront may read.
    origin: S3BucketOrigin.withBucketDefaults(repository, { originId: "bucket", originAccessControlId }),
    cachePolicy: unchangingFiles(scope),
  };
  const domain = access.mode === "mtls" ? { name: access.domainName, certificate: access.certificate } : chosen.domain;
  const distribution = new Distribution(scope, "Distribution", {
    comment: `For the devices of ${name}`,
    // Every other path is not found: the edge function says so, and so would serve. The default
    // must never be the bucket, whose root path lists its objects.
    defaultBehavior: { ...byServe, ...byPath },
    additionalBehaviors: {
      "/metadata/timestamp.json": byServe,
      "/metadata/*.root.json": byServe,
      "/metadata/*": fromBucket,
      "/targets/*": fromBucket,
      "/chunks/*": fromBucket,
      ...(pack && {
        "/pack": { ...common, origin: origin("pack", pack), cachePolicy: packsByQuery(scope), compress: false },
      }),
    },
    errorResponses: KEPT_ERRORS.map((httpStatus) => ({ httpStatus, ttl: Duration.seconds(0) })),
    // CloudFront asks viewers for certificates only over HTTP/2 and HTTP/1.1
    // (<https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/enable-mtls-distributions.html>).
    httpVersion: HttpVersion.HTTP2,
    ...(domain && { domainNames: [domain.name], certificate: domain.certificate }),
    ...(chosen.webAclArn !== undefined && { webAclId: chosen.webAclArn }),
    ...(chosen.logBucket && { logBucket: chosen.logBucket, logFilePrefix: `${name}/` }),
  });
  if (access.mode === "mtls") askForCertificates(scope, distribution, access);
  acknowledge(distribution, chosen, domain !== undefined);

  for (const statement of readByCloudFront(repository, distribution.distributionArn)) {
    repository.addToResourcePolicy(statement);
  }
  const statement = decryptForCloudFront();
  if (repository.encryptionKey && !repository.encryptionKey.addToResourcePolicy(statement).statementAdded) {
    Annotations.of(scope).addWarningV2(
      "tufline:keyOfCloudFront",
      "CloudFront can't read the bucket until the policy of encryptionKey allows it: docs/deploy-more.md#cloudfront has the statement",
    );
  }
  return {
    ...deviceUrls(`https://${domain?.name ?? distribution.domainName}`, pack !== undefined),
    distribution,
    metrics: metrics(distribution, pack ? { serve, pack } : { serve }),
  };
}

/**
 * A name that no other repository of the account has. CloudFront's names are shared by all regions,
 * and have at most 64 characters.
 */
function inAllRegions(scope: Construct, what: string): string {
  const unique = Names.uniqueResourceName(scope, { maxLength: 36, allowedSpecialCharacters: "-" });
  return Fn.join("-", [unique, what, Aws.REGION]);
}

/**
 * The cache policy of the timestamp and roots. Serve compresses these files itself if the client
 * accepts that, so it must see the client's `Accept-Encoding`.
 */
function changingFiles(scope: Construct): CachePolicy {
  return new CachePolicy(scope, "ChangingFiles", {
    comment: "As long as serve says, but no longer than a new root may be hidden",
    ...lifetimes(0, CHANGING),
    enableAcceptEncodingGzip: true,
  });
}

/** The cache policy of packs: a pack is the answer to the whole query. */
function packsByQuery(scope: Construct): CachePolicy {
  return new CachePolicy(scope, "Packs", {
    comment: "As long as pack says, but no longer than a new root may be hidden",
    ...lifetimes(0, CHANGING),
    queryStringBehavior: CacheQueryStringBehavior.all(),
  });
}

/**
 * The cache policy of versioned metadata, blobs and chunks. CloudFront compresses metadata if the
 * client accepts that; the others have no type that it compresses.
 */
function unchangingFiles(scope: Construct): CachePolicy {
  return new CachePolicy(scope, "UnchangingFiles", {
    comment: "Files that never change",
    ...lifetimes(UNCHANGING.toSeconds(), UNCHANGING),
    enableAcceptEncodingGzip: true,
    enableAcceptEncodingBrotli: true,
  });
}

/**
 * The lifetimes of a cache policy. `unsaid`, in seconds, applies if the origin gives no lifetime.
 */
function lifetimes(unsaid: number, most: Duration) {
  return { minTtl: Duration.seconds(0), defaultTtl: Duration.seconds(unsaid), maxTtl: most };
}

/**
 * Makes CloudFront require a client certificate
 * (<https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-cloudfront-distribution-viewermtlsconfig.html>).
 * CDK's construct has no property for this.
 */
function askForCertificates(scope: Construct, distribution: Distribution, { truststore }: MtlsAccess): void {
  const { bucket, key, version } = truststore;
  const store = new CfnTrustStore(scope, "Truststore", {
    name: inAllRegions(scope, "devices"),
    caCertificatesBundleSource: {
      caCertificatesBundleS3Location: {
        bucket: bucket.bucketName,
        key,
        region: Aws.REGION,
        ...(version !== undefined && { version }),
      },
    },
  });
  (distribution.node.defaultChild as CfnDistribution).addPropertyOverride("DistributionConfig.ViewerMtlsConfig", {
    Mode: "required",
    TrustStoreConfig: { TrustStoreId: store.attrId },
  });
}

function acknowledge(distribution: Distribution, { webAclArn, logBucket }: CloudFront, hasDomain: boolean): void {
  const reasons = {
    CFR1: "The operator chooses who may read, and not by country",
    ...(webAclArn === undefined && { CFR2: "The operator may name a web ACL; nothing can be asked for but what devices may read" }),
    ...(!logBucket && { CFR3: "The operator may name a bucket for the logs of requests" }),
    ...(!hasDomain && { CFR4: "CloudFront's own domain has one setting only; what devices trust is signatures" }),
  };
  for (const [rule, reason] of Object.entries(reasons)) {
    Validations.of(distribution).acknowledge({ id: `AwsSolutions-${rule}`, reason });
  }
}

/**
 * CloudFront's requests, and those that reach the functions
 * (<https://docs.aws.amazon.com/lambda/latest/dg/urls-monitoring.html>).
 */
function metrics(distribution: Distribution, functions: { serve: IFunction; pack?: IFunction }): DeviceMetrics {
  const period = Duration.minutes(5);
  const ofCloudFront = (metricName: string, statistic: string, label: string) => {
    const dimensionsMap = { DistributionId: distribution.distributionId, Region: "Global" };
    const where = { namespace: "AWS/CloudFront", region: REGION_OF_METRICS };
    return new Metric({ ...where, metricName, dimensionsMap, statistic, period, label });
  };
  return {
    requests: [
      ofCloudFront("Requests", Stats.SUM, "all"),
      functions.serve.metric("UrlRequestCount", { statistic: Stats.SUM, period, label: "to serve" }),
    ],
    beside: [
      ofCloudFront("4xxErrorRate", Stats.AVERAGE, "4xx (%)"),
      ofCloudFront("5xxErrorRate", Stats.AVERAGE, "5xx (%)"),
      functions.serve.metric("UrlRequestLatency", { statistic: Stats.p(99), period, label: "latency of serve p99 (ms)" }),
    ],
    // An alarm on CloudFront's own metric would have to be in CloudFront's region.
    serverErrors: Object.fromEntries(
      Object.entries(functions).map(([stage, it]) => [stage, it.metric("Url5xxCount", { statistic: Stats.SUM, period })]),
    ),
  };
}
