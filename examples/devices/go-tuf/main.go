// A device with go-tuf: device ROOT METADATA_URL TARGETS_URL STATE NAME OUT
//
//	go mod tidy && go build .
//
// ROOT is the root.json of the device's image. STATE is a folder that survives a reboot.
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

func update(root, metadataURL, targetsURL, state, name, out string) error {
	trusted, err := os.ReadFile(root)
	if err != nil {
		return err
	}
	settings, err := config.New(metadataURL, trusted)
	if err != nil {
		return err
	}
	settings.LocalMetadataDir, settings.LocalTargetsDir, settings.RemoteTargetsURL = state, state, targetsURL
	device, err := updater.New(settings)
	if err != nil {
		return err
	}
	if err := device.Refresh(); err != nil {
		return err
	}
	target, err := device.GetTargetInfo(name)
	if err != nil {
		return err
	}
	// What is there already, with the right digest, is not downloaded again.
	found, _, err := device.FindCachedTarget(target, out)
	if err != nil || found != "" {
		return err
	}
	_, _, err = device.DownloadTarget(target, out, "")
	return err
}

func main() {
	if len(os.Args) != 7 {
		log.Fatal("usage: device ROOT METADATA_URL TARGETS_URL STATE NAME OUT")
	}
	if err := update(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s is in %s, verified\n", os.Args[5], os.Args[6])
}
