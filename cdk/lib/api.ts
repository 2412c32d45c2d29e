/**
 * The HTTP API for devices: it serves two trees of files, packs of these files, and nothing else.
 */
import { Duration, RemovalPolicy, Validations } from "aws-cdk-lib";
import { AccessLogFormat } from "aws-cdk-lib/aws-apigateway";
import {
  CfnRoute,
  CfnStage,
  DomainName,
  HttpApi,
  HttpMethod,
  HttpRoute,
  HttpStage,
  IpAddressType,
  LogGroupLogDestination,
  PayloadFormatVersion,
  SecurityPolicy,
} from "aws-cdk-lib/aws-apigatewayv2";
import { HttpLambdaIntegration } from "aws-cdk-lib/aws-apigatewayv2-integrations";
import { Stats } from "aws-cdk-lib/aws-cloudwatch";
import { IFunction } from "aws-cdk-lib/aws-lambda";
import { LogGroup, RetentionDays } from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";

import { Access, authorizer, MtlsAccess } from "./access.ts";
import { DeviceMetrics, DeviceUrls, deviceUrls, PACK } from "./devices.ts";
import { Packs, Throttle } from "./props.ts";

const TREES = ["metadata", "targets", "chunks"] as const;
const METHODS = [HttpMethod.GET, HttpMethod.HEAD];

/**
 * The access log's line of JSON for one request. `error` comes from the integration, and is empty
 * if a function answered.
 */
const LOG_LINE = JSON.stringify({
  time: "$context.requestTime",
  request: "$context.requestId",
  ip: "$context.identity.sourceIp",
  userAgent: "$context.identity.userAgent",
  method: "$context.httpMethod",
  path: "$context.path",
  status: "$context.status",
  length: "$context.responseLength",
  milliseconds: "$context.responseLatency",
  error: "$context.integrationErrorMessage",
});

/** The API with its URLs and metrics. */
export interface DeviceApi extends DeviceUrls {
  readonly api: HttpApi;
  /** The custom domain, under mTLS only. */
  readonly domain?: DomainName;
  readonly metrics: DeviceMetrics;
}

/** The functions behind the API, and the limits on requests. */
export interface DeviceApiOptions {
  readonly access: Access;
  readonly serve: IFunction;
  readonly pack: IFunction;
  readonly packs: Packs & { readonly enabled: boolean };
  readonly retention: RetentionDays;
  readonly limit: Throttle | undefined;
}

/** Creates the API of the repository `name` in front of the functions that answer devices. */
export function deviceApi(scope: Construct, name: string, options: DeviceApiOptions): DeviceApi {
  const { access, serve, pack, packs, retention, limit } = options;
  const api = new HttpApi(scope, "Api", {
    apiName: name,
    description: `For the devices of ${name}`,
    createDefaultStage: false,
    // A device may have only an IPv6 address
    // (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-ip-address-type.html>).
    ipAddressType: IpAddressType.DUAL_STACK,
    // Otherwise a client without a certificate could bypass the domain.
    disableExecuteApiEndpoint: access.mode === "mtls",
  });
  const answeredBy = (id: string, handler: IFunction) =>
    new HttpLambdaIntegration(id, handler, {
      payloadFormatVersion: PayloadFormatVersion.VERSION_2_0,
      // One permission for the whole API in place of one for each route: these are all its routes.
      scopePermissionToRoute: false,
    });
  const routeAuthorizer = authorizer(access);
  const addRoutes = (path: string, methods: HttpMethod[], integration: HttpLambdaIntegration) => {
    const routes = api.addRoutes({ path, methods, integration, authorizer: routeAuthorizer });
    if (access.mode === "open" || access.mode === "mtls") {
      const reason =
        access.mode === "open"
          ? "Open by the operator's choice: devices trust signatures, and the API only reads"
          : "Under mTLS the domain requires a certificate before it looks at routes";
      for (const route of routes) Validations.of(route).acknowledge({ id: "AwsSolutions-APIG4", reason });
    }
    return routes;
  };
  const files = answeredBy("Serve", serve);
  for (const tree of TREES) addRoutes(`/${tree}/{proxy+}`, METHODS, files);
  const packRoutes = packs.enabled ? addRoutes(PACK, [HttpMethod.GET], answeredBy("Pack", pack)) : [];
  const domain = access.mode === "mtls" ? customDomain(scope, access) : undefined;
  const stage = new HttpStage(scope, "ApiStage", {
    httpApi: api,
    stageName: "$default",
    autoDeploy: true,
    accessLogSettings: { destination: accessLog(scope, name, retention), format: AccessLogFormat.custom(LOG_LINE) },
    ...(limit && { throttle: { rateLimit: limit.rate, burstLimit: limit.burst } }),
    ...(domain && { domainMapping: { domainName: domain } }),
  });
  if (packs.enabled && packs.throttle) limitRoutes(stage, packRoutes, packs.throttle);
  const endpoint = domain ? `https://${domain.name}` : api.apiEndpoint;
  return { ...deviceUrls(endpoint, packs.enabled), api, ...(domain && { domain }), metrics: metrics(api) };
}

function metrics(api: HttpApi): DeviceMetrics {
  const period = Duration.minutes(5);
  const sum = { statistic: Stats.SUM, period };
  return {
    requests: [
      api.metricCount({ ...sum, label: "all" }),
      api.metricClientError({ ...sum, label: "4xx" }),
      api.metricServerError({ ...sum, label: "5xx" }),
    ],
    beside: [api.metricLatency({ statistic: Stats.p(99), period, label: "latency p99 (ms)" })],
    // This counts pack's errors too: a metric for each route would cost extra.
    serverErrors: { serve: api.metricServerError(sum) },
  };
}

/**
 * Limits these routes on their own, in place of the stage's limit
 * (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html>).
 */
function limitRoutes(stage: HttpStage, routes: HttpRoute[], { rate, burst }: Throttle): void {
  const settings = { ThrottlingRateLimit: rate, ThrottlingBurstLimit: burst };
  const ofStage = stage.node.defaultChild as CfnStage;
  ofStage.routeSettings = Object.fromEntries(routes.map((route) => [(route.node.defaultChild as CfnRoute).routeKey, settings]));
  // API Gateway refuses settings of a route that doesn't exist yet.
  stage.node.addDependency(...routes);
}

/**
 * The access log. For log groups with this prefix, API Gateway needs no further entry in the
 * account's resource policy.
 */
function accessLog(scope: Construct, name: string, retention: RetentionDays): LogGroupLogDestination {
  const logGroup = new LogGroup(scope, "ApiLog", {
    logGroupName: `/aws/vendedlogs/${name}-api`,
    retention,
    removalPolicy: RemovalPolicy.DESTROY,
  });
  return new LogGroupLogDestination(logGroup);
}

function customDomain(scope: Construct, access: MtlsAccess): DomainName {
  const { domainName, certificate, ownershipCertificate, truststore } = access;
  const { bucket, key, version } = truststore;
  return new DomainName(scope, "Domain", {
    domainName,
    certificate,
    ...(ownershipCertificate && { ownershipCertificate }),
    ipAddressType: IpAddressType.DUAL_STACK,
    securityPolicy: SecurityPolicy.TLS_1_2,
    mtls: { bucket, key, ...(version !== undefined && { version }) },
  });
}

/** How much of a repository an identity may read under IAM access. */
export interface ReadOptions {
  /**
   * Restricts a device by the type of its thing in AWS IoT: a thing of the type `gateway` may
   * request only targets below `gateway/`, and no packs, since a pack may contain any target. The
   * device's settings must name its thing. **This is order, not secrecy**: the repository serves a
   * target by its digest, which metadata tells every device, and only checks that the path lies
   * below the device's own. If devices of one type must not get the targets of another, give each
   * type a repository of its own.
   *
   * @default false: all targets
   */
  readonly pathsByThingType?: boolean;
}

/** The IAM policy variable that the credentials provider sets for a device that names its thing. */
const THING_TYPE = "${credentials-iot:ThingTypeName}";

/** Any digest in a policy, in front of the rest of a path. */
const DIGEST = "?".repeat(64);

/**
 * The ARNs of the API calls that IAM access allows a device. With consistent snapshots, clients put
 * the digest either in front of a path's last segment or in front of the whole path
 * (`functions/serve/src/path.rs`).
 */
export function deviceArns(api: HttpApi, packs: boolean, { pathsByThingType = false }: ReadOptions = {}): string[] {
  const below = (tree: string) => (pathsByThingType ? [`/${tree}/${THING_TYPE}/*`, `/${tree}/${DIGEST}.${THING_TYPE}/*`] : [`/${tree}/*`]);
  const files = ["/metadata/*", ...below("targets"), ...below("chunks")].flatMap((path) => {
    return METHODS.map((method) => api.arnForExecuteApi(method, path, "$default"));
  });
  return packs && !pathsByThingType ? [...files, api.arnForExecuteApi(HttpMethod.GET, PACK, "$default")] : files;
}
