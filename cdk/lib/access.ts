/** Who may read as a device, and the API Gateway settings that let them in. */
import { HttpNoneAuthorizer, IHttpRouteAuthorizer } from "aws-cdk-lib/aws-apigatewayv2";
import { HttpIamAuthorizer, HttpJwtAuthorizer } from "aws-cdk-lib/aws-apigatewayv2-authorizers";
import { ICertificate } from "aws-cdk-lib/aws-certificatemanager";
import { IBucket } from "aws-cdk-lib/aws-s3";

import { issuerSchemes } from "./emulator.ts";
import { TuflineRepositoryProps } from "./props.ts";
import { refuse } from "./refusal.ts";

/** Who may read as a device. */
export type Access = OpenAccess | IamAccess | JwtAccess | MtlsAccess;

/**
 * Everybody. TUF needs no more: devices trust signatures, and metadata holds no secret except the
 * names of targets.
 */
export interface OpenAccess {
  readonly mode: "open";
}

/**
 * Every AWS identity with `execute-api:Invoke` on the API: see `grantRead`. Devices sign their
 * requests (SigV4).
 */
export interface IamAccess {
  readonly mode: "iam";
}

/**
 * Every client that sends a JSON Web Token as `Authorization: Bearer …`. API Gateway accepts only
 * tokens with an RSA signature (`RS256`, not `ES256`) and a `kid` in their header, and caches the
 * issuer's keys for two hours
 * (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>).
 * The synthesis can't check what the issuer does.
 */
export interface JwtAccess {
  readonly mode: "jwt";
  /** The token's `iss`: an HTTPS URL that serves `/.well-known/openid-configuration` below it. */
  readonly issuer: string;
  /** The accepted values of the token's `aud`, or of its `client_id`. */
  readonly audience: readonly string[];
}

/**
 * Every client with a certificate of an authority in the truststore. The domain is then the API's
 * only endpoint; point a DNS record at `TuflineRepository.domain`.
 */
export interface MtlsAccess {
  readonly mode: "mtls";
  /** The domain in the devices' URLs, for example `tuf.example.org`. */
  readonly domainName: string;
  /** The domain's certificate in ACM, in the API's region; with CloudFront in us-east-1. */
  readonly certificate: ICertificate;
  /**
   * A second certificate for the same domain, issued by ACM. It is needed if {@link certificate}
   * was imported into ACM or comes from a private authority: it proves who owns the domain, and
   * does nothing else. API Gateway refuses such a domain without it
   * (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-mutual-tls.html>).
   *
   * @default none: ACM issued the certificate
   */
  readonly ownershipCertificate?: ICertificate;
  /** The authorities that issue the devices' certificates. */
  readonly truststore: Truststore;
}

/** A PEM file in S3, in the API's region. */
export interface Truststore {
  /** The file's bucket, preferably with versioning. */
  readonly bucket: IBucket;
  /** The file's key in the bucket. */
  readonly key: string;
  /**
   * The file's version. API Gateway and CloudFront read the file again only when this, the key or
   * the bucket changes: name it, and change it with the file. Otherwise an authority that you took
   * out of the file stays trusted
   * (<https://docs.aws.amazon.com/apigateway/latest/api/API_MutualTlsAuthenticationInput.html>).
   *
   * @default the newest version when the domain is made, for ever
   */
  readonly version?: string;
}

/** Refuses settings that API Gateway would refuse, or would accept although they are insecure. */
export function checkAccess(access: Access, emulator: boolean): void {
  if (access.mode === "jwt") {
    const schemes = issuerSchemes(emulator);
    if (!schemes.some((scheme) => access.issuer.startsWith(scheme))) {
      const why = "its keys are fetched from there";
      refuse("access.issuer", `'${access.issuer}'`, why, `give it a URL that begins with ${schemes.join(" or ")}`);
    }
    if (access.audience.length === 0 || access.audience.includes("")) {
      const why = "a token for any other service would be accepted";
      refuse("access.audience", JSON.stringify(access.audience), why, "name the intended audiences");
    }
  }
  if (access.mode === "mtls" && !/^([a-z0-9-]+\.)+[a-z0-9-]+$/.test(access.domainName)) {
    const why = "client certificates need a custom domain";
    refuse("access.domainName", `'${access.domainName}'`, why, "give it in lowercase letters, such as tuf.example.org");
  }
}

/**
 * Returns the access for CloudFront. Refuses choices under which CloudFront would let in the wrong
 * clients or ignore a setting: CloudFront gives its cached answers to every client that it lets in.
 */
export function checkCloudFront({ access, cloudFront, throttle, packs }: TuflineRepositoryProps): OpenAccess | MtlsAccess {
  if (access.mode !== "open" && access.mode !== "mtls") {
    const why = "CloudFront would answer other devices from its cache";
    return refuse("access", `'${access.mode}' with cloudFront`, why, "leave cloudFront out, or choose access 'open' or 'mtls'");
  }
  for (const [prop, chosen] of [["throttle", throttle], ["packs.throttle", packs?.throttle]] as const) {
    const instead = "leave it out, and limit devices by cloudFront.webAclArn or packs by reservedConcurrency.pack";
    if (chosen) refuse(prop, `chosen with cloudFront`, "CloudFront has no throttle", instead);
  }
  if (access.mode === "mtls" && access.ownershipCertificate) {
    const why = "only API Gateway checks who owns the domain";
    refuse("access.ownershipCertificate", "chosen with cloudFront", why, "leave it out");
  }
  if (access.mode === "mtls" && cloudFront?.domain) {
    refuse("cloudFront.domain", `'${cloudFront.domain.name}'`, "devices ask access.domainName", "leave it out");
  }
  return access;
}

/**
 * How many seconds a cache may keep a pack. A pack may say that there is no next root, and nothing
 * may hide an existing root for longer than `LONGEST_HIDDEN_SECONDS`
 * (`shared/tuf/src/root/published.rs`). If not everybody may read, no cache may keep a pack, since
 * a cache can't tell which client may have it.
 */
export function packMaxAge(access: Access): number {
  return access.mode === "open" ? 5 : 0;
}

/**
 * The authorizer of every route. Under mTLS the domain checks the certificate before it looks at
 * routes.
 */
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
