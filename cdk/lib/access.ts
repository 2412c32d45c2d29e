/** Who may read as a device, and what of API Gateway lets them in. */
import { HttpNoneAuthorizer, IHttpRouteAuthorizer } from "aws-cdk-lib/aws-apigatewayv2";
import { HttpIamAuthorizer, HttpJwtAuthorizer } from "aws-cdk-lib/aws-apigatewayv2-authorizers";
import { ICertificate } from "aws-cdk-lib/aws-certificatemanager";
import { IBucket } from "aws-cdk-lib/aws-s3";

import { issuerSchemes } from "./emulator.ts";
import { TuflineRepositoryProps } from "./props.ts";
import { refuse } from "./refusal.ts";

/** Who may read as a device. */
export type Access = OpenAccess | IamAccess | JwtAccess | MtlsAccess;

/** Everybody. TUF needs no more: what devices trust is signatures, and metadata holds no secret but targets' names. */
export interface OpenAccess {
  readonly mode: "open";
}

/** Whoever has an AWS identity with `execute-api:Invoke` on the API: see `grantRead`. Devices sign requests (SigV4). */
export interface IamAccess {
  readonly mode: "iam";
}

/**
 * Whoever has a JSON Web Token, sent as `Authorization: Bearer …`. API Gateway takes tokens with an RSA signature only (`RS256`, not `ES256`),
 * with a `kid` in their header, and keeps the issuer's keys for two hours
 * (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>). Nobody can check that at synthesis.
 */
export interface JwtAccess {
  readonly mode: "jwt";
  /** The token's `iss`: an HTTPS URL, with `/.well-known/openid-configuration` below it. */
  readonly issuer: string;
  /** One of these must be the token's `aud`, or its `client_id`. */
  readonly audience: readonly string[];
}

/**
 * Whoever has a client certificate. The API then has no endpoint but the domain; point a DNS record at
 * `TuflineRepository.domain`.
 */
export interface MtlsAccess {
  readonly mode: "mtls";
  /** The domain that devices ask, for example `tuf.example.org`. */
  readonly domainName: string;
  /** The domain's certificate, in ACM in the API's region; with CloudFront in us-east-1. */
  readonly certificate: ICertificate;
  /**
   * Where {@link certificate} was imported into ACM, or comes from a private authority: one for the same domain that ACM itself issued, which shows
   * whose the domain is and does nothing else. API Gateway refuses the domain without it
   * (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-mutual-tls.html>).
   *
   * @default none: ACM issued the certificate
   */
  readonly ownershipCertificate?: ICertificate;
  /** Certificates of the authorities that devices' certificates come from. */
  readonly truststore: Truststore;
}

/** A PEM file in S3, in the API's region. */
export interface Truststore {
  /** Its bucket, versioned best. */
  readonly bucket: IBucket;
  /** Its key. */
  readonly key: string;
  /**
   * Its version. API Gateway reads the file when this, or the key, changes.
   *
   * @default the newest, as of the deployment
   */
  readonly version?: string;
}

/** Refuses what API Gateway would refuse, or worse, would accept. */
export function checkAccess(access: Access, emulator: boolean): void {
  if (access.mode === "jwt") {
    const schemes = issuerSchemes(emulator);
    if (!schemes.some((scheme) => access.issuer.startsWith(scheme))) {
      const why = "its keys are fetched from there";
      refuse("access.issuer", `'${access.issuer}'`, why, `give it a URL that begins with ${schemes.join(" or ")}`);
    }
    if (access.audience.length === 0 || access.audience.includes("")) {
      const why = "a token made for any other service would do";
      refuse("access.audience", JSON.stringify(access.audience), why, "name the audiences that are meant");
    }
  }
  if (access.mode === "mtls" && !/^([a-z0-9-]+\.)+[a-z0-9-]+$/.test(access.domainName)) {
    const why = "devices' certificates are asked for under a domain only";
    refuse("access.domainName", `'${access.domainName}'`, why, "name it in lowercase letters, as tuf.example.org");
  }
}

/**
 * Whom CloudFront lets in, or an error where it would let in others, or not do what was chosen: what it has in its cache it
 * tells to all that it lets in.
 */
export function checkCloudFront({ access, cloudFront, throttle, packs }: TuflineRepositoryProps): OpenAccess | MtlsAccess {
  if (access.mode !== "open" && access.mode !== "mtls") {
    const why = "CloudFront would answer others from its cache";
    return refuse("access", `'${access.mode}' with cloudFront`, why, "leave cloudFront out, or choose access 'open' or 'mtls'");
  }
  for (const [prop, chosen] of [["throttle", throttle], ["packs.throttle", packs?.throttle]] as const) {
    const instead = "leave it out, and limit devices by cloudFront.webAclArn or packs by reservedConcurrency.pack";
    if (chosen) refuse(prop, `chosen with cloudFront`, "CloudFront has no throttle", instead);
  }
  if (access.mode === "mtls" && access.ownershipCertificate) {
    const why = "only API Gateway asks whose the domain is";
    refuse("access.ownershipCertificate", "chosen with cloudFront", why, "leave it out");
  }
  if (access.mode === "mtls" && cloudFront?.domain) {
    refuse("cloudFront.domain", `'${cloudFront.domain.name}'`, "devices ask access.domainName", "leave it out");
  }
  return access;
}

/**
 * For how many seconds a cache may keep a pack. A pack may say that there is no next root, and nothing may hide one that is there for longer
 * than that (`LONGEST_HIDDEN_SECONDS` in `shared/tuf/src/root/published.rs`). Where not everybody may read, no cache may keep what it can't tell
 * for whom it is.
 */
export function packMaxAge(access: Access): number {
  return access.mode === "open" ? 5 : 0;
}

/** What every route asks for. A certificate is asked for before there is a route. */
export function authorizer(access: Access): IHttpRouteAuthorizer {
  switch (access.mode) {
    case "open":
    case "mtls":
      return new HttpNoneAuthorizer();
    case "iam":
      return new HttpIamAuthorizer();
    case "jwt":
      return new HttpJwtAuthorizer("Jwt", access.issuer, { jwtAudience: [...access.audience] });
  }
}
