package message

import "fmt"

// NotifyType is the type of a Notify payload (RFC 7296 §3.10.1). Below 16384 it is an error.
type NotifyType uint16

// Notify types.
const (
	UnsupportedCriticalPayload NotifyType = 1
	InvalidIKESPI              NotifyType = 4
	InvalidMajorVersion        NotifyType = 5
	InvalidSyntax              NotifyType = 7
	InvalidMessageID           NotifyType = 9
	InvalidSPI                 NotifyType = 11
	NoProposalChosen           NotifyType = 14
	InvalidKEPayload           NotifyType = 17
	AuthenticationFailed       NotifyType = 24
	SinglePairRequired         NotifyType = 34
	NoAdditionalSAs            NotifyType = 35
	InternalAddressFailure     NotifyType = 36
	FailedCPRequired           NotifyType = 37
	TSUnacceptable             NotifyType = 38
	InvalidSelectors           NotifyType = 39
	UseAssignedHoA             NotifyType = 42 // RFC 5026
	TemporaryFailure           NotifyType = 43
	ChildSANotFound            NotifyType = 44
	StateNotFound              NotifyType = 47 // RFC 9370

	InitialContact            NotifyType = 16384
	SetWindowSize             NotifyType = 16385
	AdditionalTSPossible      NotifyType = 16386
	NATDetectionSource        NotifyType = 16388
	NATDetectionDestination   NotifyType = 16389
	Cookie                    NotifyType = 16390
	UseTransportMode          NotifyType = 16391
	RekeySA                   NotifyType = 16393
	ESPTFCPaddingNotSupported NotifyType = 16394
	NonFirstFragmentsAlso     NotifyType = 16395
	FragmentationSupported    NotifyType = 16430 // RFC 7383
	ChildlessSupported        NotifyType = 16418 // RFC 6023
	SignatureHashAlgorithms   NotifyType = 16431 // RFC 7427
	IntermediateSupported     NotifyType = 16438 // RFC 9242
	AdditionalKeyExchange     NotifyType = 16441 // RFC 9370
)

// IsError says whether the type reports an error rather than a status.
func (n NotifyType) IsError() bool { return n != 0 && n < 16384 }

var notifyNames = map[NotifyType]string{
	UnsupportedCriticalPayload: "UNSUPPORTED_CRITICAL_PAYLOAD", InvalidIKESPI: "INVALID_IKE_SPI",
	InvalidMajorVersion: "INVALID_MAJOR_VERSION", InvalidSyntax: "INVALID_SYNTAX",
	InvalidMessageID: "INVALID_MESSAGE_ID", InvalidSPI: "INVALID_SPI",
	NoProposalChosen: "NO_PROPOSAL_CHOSEN", InvalidKEPayload: "INVALID_KE_PAYLOAD",
	AuthenticationFailed: "AUTHENTICATION_FAILED", SinglePairRequired: "SINGLE_PAIR_REQUIRED",
	NoAdditionalSAs: "NO_ADDITIONAL_SAS", InternalAddressFailure: "INTERNAL_ADDRESS_FAILURE",
	FailedCPRequired: "FAILED_CP_REQUIRED", TSUnacceptable: "TS_UNACCEPTABLE",
	InvalidSelectors: "INVALID_SELECTORS", UseAssignedHoA: "USE_ASSIGNED_HoA",
	TemporaryFailure: "TEMPORARY_FAILURE", ChildSANotFound: "CHILD_SA_NOT_FOUND",
	InitialContact: "INITIAL_CONTACT", SetWindowSize: "SET_WINDOW_SIZE",
	AdditionalTSPossible: "ADDITIONAL_TS_POSSIBLE", NATDetectionSource: "NAT_DETECTION_SOURCE_IP",
	NATDetectionDestination: "NAT_DETECTION_DESTINATION_IP", Cookie: "COOKIE",
	UseTransportMode: "USE_TRANSPORT_MODE", RekeySA: "REKEY_SA",
	ESPTFCPaddingNotSupported: "ESP_TFC_PADDING_NOT_SUPPORTED",
	NonFirstFragmentsAlso:     "NON_FIRST_FRAGMENTS_ALSO", SignatureHashAlgorithms: "SIGNATURE_HASH_ALGORITHMS", ChildlessSupported: "CHILDLESS_IKEV2_SUPPORTED",
	StateNotFound: "STATE_NOT_FOUND", FragmentationSupported: "IKEV2_FRAGMENTATION_SUPPORTED",
	IntermediateSupported: "INTERMEDIATE_EXCHANGE_SUPPORTED", AdditionalKeyExchange: "ADDITIONAL_KEY_EXCHANGE",
}

func (n NotifyType) String() string {
	if s, ok := notifyNames[n]; ok {
		return s
	}
	return fmt.Sprintf("notify %d", uint16(n))
}
