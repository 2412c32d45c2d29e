/** What wakes refresh. */
import { Aws, Duration } from "aws-cdk-lib";
import { PolicyDocument, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { IFunction } from "aws-cdk-lib/aws-lambda";
import { Schedule, ScheduleExpression } from "aws-cdk-lib/aws-scheduler";
import { LambdaInvoke } from "aws-cdk-lib/aws-scheduler-targets";
import { Construct } from "constructs";

import { allow } from "./permissions.ts";

/** Wakes `refresh` every minute. */
export function everyMinute(scope: Construct, repository: string, refresh: IFunction): Schedule {
  const role = new Role(scope, "EveryMinuteRole", {
    description: `Wakes the refresh function of ${repository}`,
    assumedBy: new ServicePrincipal("scheduler.amazonaws.com", {
      conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
    }),
    inlinePolicies: {
      refresh: new PolicyDocument({ statements: [allow(["lambda:InvokeFunction"], refresh.functionArn)] }),
    },
  });
  return new Schedule(scope, "EveryMinute", {
    description: "Keeps the timestamp fresh and picks up work that lost its hint",
    schedule: ScheduleExpression.rate(Duration.minutes(1)),
    target: new LambdaInvoke(refresh, {
      // Not tried again: the next minute comes anyway. What becomes of the event at Lambda is the function's own affair.
      retryAttempts: 0,
      maxEventAge: Duration.minutes(1),
      // As it is: the construct would allow all versions of the function too.
      role: role.withoutPolicyUpdates(),
    }),
  });
}
