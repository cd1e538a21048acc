package broker

import (
	"context"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

// ListConfigResources (key 74), versions 0-1: what has or may have configs. Version 0 lists client metrics
// subscriptions only; in version 1 an empty list of types means all.
func (b *Broker) listConfigResources(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.ListConfigResourcesRequest)
	resp := q.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	all := []metadata.ResourceType{
		metadata.ResourceTopic, metadata.ResourceBroker, resourceBrokerLogger,
		metadata.ResourceClientMetrics, metadata.ResourceGroup,
	}
	asked := []metadata.ResourceType{metadata.ResourceClientMetrics}
	if q.Version >= 1 {
		asked = asked[:0]
		for _, t := range q.ResourceTypes {
			if !slices.Contains(all, metadata.ResourceType(t)) {
				resp.ErrorCode = kerr.UnsupportedVersion.Code
				return resp, nil
			}
			asked = append(asked, metadata.ResourceType(t))
		}
		if len(q.ResourceTypes) == 0 {
			asked = all
		}
	}
	img := b.image()
	for _, t := range asked {
		for _, name := range configNames(img, t) {
			c := kmsg.NewListConfigResourcesResponseConfigResource()
			c.Name, c.Type = name, int8(t)
			resp.ConfigResources = append(resp.ConfigResources, c)
		}
	}
	return resp, nil
}

// configNames lists the resources of one type: those that exist anyway, or those that were configured.
func configNames(img *metadata.Image, t metadata.ResourceType) (names []string) {
	switch t {
	case metadata.ResourceTopic:
		for topic := range img.Topics() {
			names = append(names, topic.Name)
		}
	case metadata.ResourceBroker, resourceBrokerLogger:
		for broker := range img.Brokers() {
			names = append(names, strconv.Itoa(int(broker.ID)))
		}
	default:
		names = img.ConfigNames(t)
	}
	return names
}

// resourceBrokerLogger is Kafka's resource for log levels; this broker has none to set.
const resourceBrokerLogger metadata.ResourceType = 8
