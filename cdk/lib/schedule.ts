/** The schedule that invokes refresh. */
import { Aws, Duration } from "aws-cdk-lib";
import { PolicyDocument, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { IFunction } from "aws-cdk-lib/aws-lambda";
import { Schedule, ScheduleExpression } from "aws-cdk-lib/aws-scheduler";
import { LambdaInvoke } from "aws-cdk-lib/aws-scheduler-targets";
import { Construct } from "constructs";

import { allow } from "./permissions.ts";

/** Invokes `refresh` every minute. */
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
    description: "Keeps the timestamp fresh, and picks up work whose message was lost",
    schedule: ScheduleExpression.rate(Duration.minutes(1)),
    target: new LambdaInvoke(refresh, {
      // No retries: the next minute comes anyway. How Lambda treats the event is set at the
      // function (`functions.ts`).
      retryAttempts: 0,
      maxEventAge: Duration.minutes(1),
      // The role as it is: the construct would also allow invoking every version of the function.
      role: role.withoutPolicyUpdates(),
    }),
  });
}
