/* Updates one file of a device, if there is a newer one: update SETTINGS NAME FILE */

#include <stdio.h>

#include "tufline_device.h"

static int failed(TuflineFailure *failure) {
    fprintf(stderr, "update: %s (%s)\n", tufline_failure_message(failure), tufline_failure_kind(failure));
    tufline_failure_free(failure);
    return 1;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: update SETTINGS NAME FILE\n");
        return 2;
    }
    TuflineDevice *device = NULL;
    TuflineFailure *failure = tufline_open(arguments[1], &device);
    if (failure != NULL) {
        return failed(failure);
    }
    TuflineTarget *target = NULL;
    failure = tufline_find(device, arguments[2], &target);
    if (failure == NULL) {
        const char *custom = tufline_target_custom(target);
        printf("%llu bytes, %s, %s\n", (unsigned long long)tufline_target_length(target), tufline_target_digest(target), custom ? custom : "no custom metadata");
        tufline_target_free(target);
        failure = tufline_fetch(device, arguments[2], arguments[3]);
    }
    tufline_close(device);
    return failure == NULL ? 0 : failed(failure);
}
