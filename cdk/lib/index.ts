/** What apps import: the constructs, their props, and what their props and methods name. */
export type { Access, IamAccess, JwtAccess, MtlsAccess, OpenAccess, Truststore } from "./access.ts";
export type { ReadOptions } from "./api.ts";
export type { UploadOptions } from "./grants.ts";
export { TuflineIotDevices, type TuflineIotDevicesProps } from "./iot-devices.ts";
export type { Stage } from "./permissions.ts";
export type {
  CloudFront,
  Expiries,
  LargeUploads,
  OnlineKeys,
  Packs,
  Removals,
  ReservedConcurrency,
  Retention,
  Throttle,
  TuflineRepositoryProps,
} from "./props.ts";
export { TuflineRepository } from "./tufline-repository.ts";
export { TuflineStack, type TuflineStackProps } from "./tufline-stack.ts";
